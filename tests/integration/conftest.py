"""What integration tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import azurite, object_store
from tests.object_store import ObjectStore

# Azure only where its emulator was installed: `make test-azure`.
STORES = ["s3", *(["azure"] if azurite.PROGRAM.exists() else [])]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A real object store; one for all tests, each under a prefix of its own."""
    with object_store.serve(tmp_path_factory.mktemp("objects")) as store:
        yield store


@pytest.fixture(scope="session")
def azure() -> Iterator[ObjectStore]:
    with azurite.serve() as store:
        yield store


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """Each kind of object store that there is here."""
    found: ObjectStore = request.getfixturevalue(request.param)
    return found
