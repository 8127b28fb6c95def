"""Links to files in local storage: served over HTTP, good for one thing, for a while."""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp
import pytest
import yarl
from apigpu.video.v1 import video_service_pb2 as rpc

from orchestrator.files.links import LinkRefused, Links
from orchestrator.files.storage import FileStorage
from tests import requests
from tests.services import in_process

BODY = bytes(range(256)) * 1000
WORKERS = ("127.0.0.1:1",)  # none is needed


@pytest.fixture
def links(tmp_path: Path) -> Links:
    storage = FileStorage(f"file://{tmp_path / 'files'}")
    own = "https://api.example"
    return Links(storage, b"key", own_url=own, direct=True, public_url="")


async def test_a_file_is_given_by_its_link_whole_or_in_part(tmp_path: Path) -> None:
    async with in_process(tmp_path, WORKERS) as stub, aiohttp.ClientSession() as http:
        file = await stub.UploadFile(requests.chunks("strand ü.mp4", BODY))
        link = await stub.CreateFileLink(rpc.CreateFileLinkRequest(name=file.name))
        url = yarl.URL(link.uri, encoded=True)
        async with http.get(url) as whole:
            assert (whole.status, await whole.read()) == (200, BODY)
            assert whole.content_type == "video/mp4"
            assert whole.headers["Accept-Ranges"] == "bytes"
            assert "strand" in whole.headers["Content-Disposition"]
            assert whole.headers["X-Content-Type-Options"] == "nosniff"
            tag = whole.headers["ETag"]
        async with http.get(url, headers={"Range": "bytes=1000-1999", "If-Range": tag}) as part:
            assert (part.status, await part.read()) == (206, BODY[1000:2000])
            assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(BODY)}"
        async with http.get(url, headers={"Range": "bytes=-5"}) as end:
            assert (end.status, await end.read()) == (206, BODY[-5:])
        async with http.get(url, headers={"Range": f"bytes={len(BODY)}-"}) as beyond:
            assert beyond.status == 416
        async with http.head(url) as head:
            assert (head.status, head.headers["Content-Length"]) == (200, str(len(BODY)))
        async with http.put(url, data=b"other") as put:
            assert put.status == 403
        spoilt = url.with_query({**url.query, "filename": "page.html"})
        async with http.get(spoilt) as other:
            assert other.status == 403


async def test_links_of_version_0_1_stay_good(tmp_path: Path) -> None:
    """They were signed with a key in a file; what signs now is in the database."""
    old = b"of version 0.1, of thirty-two chars"
    (tmp_path / "transfers.key").write_bytes(old)
    async with in_process(tmp_path, WORKERS) as stub:
        file = await stub.UploadFile(requests.chunks("a.jpg", BODY))
    (tmp_path / "transfers.key").unlink()
    async with in_process(tmp_path, WORKERS) as stub, aiohttp.ClientSession() as http:
        now = (await stub.CreateFileLink(rpc.CreateFileLinkRequest(name=file.name))).uri
        storage = FileStorage(f"file://{tmp_path / 'files'}")
        own_url = now.partition("/transfers")[0]
        before = Links(storage, old, own_url=own_url, direct=True, public_url="")
        link = (await before.source(file.name.removeprefix("files/"), 60)).url
        async with http.get(yarl.URL(link, encoded=True)) as answer:
            assert (answer.status, await answer.read()) == (200, BODY)


async def test_a_page_that_was_uploaded_is_not_shown_as_one(tmp_path: Path) -> None:
    async with in_process(tmp_path, WORKERS) as stub, aiohttp.ClientSession() as http:
        for name in ("page.html", "picture.svg"):
            file = await stub.UploadFile(requests.chunks(name, b"<script>alert(1)</script>"))
            link = await stub.CreateFileLink(rpc.CreateFileLinkRequest(name=file.name))
            async with http.get(yarl.URL(link.uri, encoded=True)) as answer:
                assert answer.content_type == "application/octet-stream"
                assert answer.headers["Content-Security-Policy"] == "sandbox"


async def test_a_link_ends_when_it_says(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, expires_at = await links.get("some/file", "", 60)
    query = yarl.URL(uri).query
    assert expires_at is not None
    assert links.check_own("GET", "some/file", query) == ""
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(LinkRefused, match="expired"):
        links.check_own("GET", "some/file", query)


async def test_a_link_is_for_one_file_and_one_method(links: Links) -> None:
    uri, _ = await links.get("some/file", "a.mp4", 60)
    query = dict(yarl.URL(uri).query)
    assert links.check_own("HEAD", "some/file", query) == "a.mp4"
    for method, key, change in (
        ("PUT", "some/file", {}),
        ("GET", "other/file", {}),
        ("GET", "some/file", {"expires": "99999999999"}),
        ("GET", "some/file", {"filename": "b.html"}),
        ("GET", "some/file", {"signature": "é"}),
        ("GET", "some/file", {"expires": ""}),
    ):
        with pytest.raises(LinkRefused):
            links.check_own(method, key, {**query, **change})
