"""One database and its files through three releases and back, with work under way at each step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import releases
from tests.story import Story, telling

# Several programs are started one after the other.
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.one_backend("older releases are asked for nothing but their own workers"),
]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings of where things are kept."""
    if request.param == "sqlite":
        return {}
    url = request.getfixturevalue("postgres_url")
    return {"APIGPU_DATABASE_URL": url, "APIGPU_STORAGE_URL": (tmp_path / "files").as_uri()}


@pytest.fixture
async def story(database: dict[str, str]) -> AsyncIterator[Story]:
    async with telling(database) as story:
        yield story


async def test_work_goes_on_through_an_upgrade_the_next_one_and_the_way_back(
    story: Story, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    old = releases.previous(tmp_path / "previous")
    new = releases.next_(tmp_path / "next")

    async with story.release(data, old) as running:
        await story.begin(running, "made-by-the-previous")
        await running.kill()
    async with story.release(data) as running:
        await story.finish(running)
        await story.check(running)
        await story.begin(running, "made-by-this")
    async with story.release(data, new) as running:
        await story.finish(running)
        await story.begin(running, "made-by-the-next")
    async with story.release(data) as running:
        await story.finish(running)
        await story.check(running)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
async def test_replicas_of_two_releases_work_side_by_side(story: Story, tmp_path: Path) -> None:
    new = releases.next_(tmp_path / "next")
    async with story.release(tmp_path / "1") as this:
        await story.begin(this, "before-the-change")
        async with story.release(tmp_path / "2", new) as other:
            await story.begin(this, "by-this-on-the-newer-schema")
            await story.begin(other, "by-the-next")
            await this.terminate()
            await story.finish(other)
            await story.check(other)
            async with story.release(tmp_path / "1") as back:
                await story.check(back)
