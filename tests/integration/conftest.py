"""What integration tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import object_store


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object_store.ObjectStore]:
    """A real object store; one for all tests, each under a prefix of its own."""
    with object_store.serve(tmp_path_factory.mktemp("objects")) as store:
        yield store
