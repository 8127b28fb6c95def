"""URLs on the wire, seen by a server that reads bytes."""

from __future__ import annotations

import asyncio
import re
import string
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apigpu_common.errors import ServiceError
from gpu_worker import fetch_url
from tests.integration.worker import test_fetch

# As sloppy clients write them: everything that can stand in a link, and much that should not.
WIRE = "".join(c for c in string.printable[:94] if c != "#")
LINKS = st.text(st.sampled_from(WIRE + "%%%%++//é中😀"), max_size=60)


async def on_the_wire(path: str, redirect_to: str = "") -> bytes:
    """The target of the last request that a fetch of `path` sends."""
    targets: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        targets.append(head.split(b"\r\n")[0].split(b" ", 1)[1].rsplit(b" ", 1)[0])
        if redirect_to and len(targets) == 1:
            place = redirect_to.encode()
            writer.write(b"HTTP/1.1 302 x\r\nLocation: " + place + b"\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with TemporaryDirectory() as folder:
            url = f"http://127.0.0.1:{port}{path}"
            await test_fetch.fetch(url, Path(folder), test_fetch.settings())
    return targets[-1]


def escaped(text: str) -> bytes:
    """What HTTP cannot carry, escaped; all else as it is."""
    return re.sub(r"[^\x21-\x7e]+", lambda found: quote(found[0]), text).encode()


@settings(max_examples=60, deadline=None)
@given(LINKS)
def test_a_link_arrives_as_it_was_written(rest: str) -> None:
    path = "/" + rest.lstrip("/")
    if path.find("?") == len(path) - 1:  # an empty query is the one thing that is not sent
        path = path[:-1]
    assert asyncio.run(on_the_wire(path)) == escaped(path)


@pytest.mark.parametrize(
    "target",
    [
        "/b/a%2Fb+c/%C3%A9?X-Amz-Signature=a%2Bb%2F%3D&x=1+2",
        "/with a space/é.mp4?q=a b",
        "/semi;colon?a[]=1&b=%7B%7D&c={}|^`",
    ],
)
async def test_a_redirect_arrives_as_it_was_written(target: str) -> None:
    assert await on_the_wire("/", target) == escaped(target)


@pytest.mark.parametrize(
    "url", ["http://h/a\nb", "http://h/\r\nHost: x", "http://h/\x00", "\thttp://h/"]
)
async def test_a_link_with_a_line_break_is_refused_and_says_so(url: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as error:
        await test_fetch.fetch(url, tmp_path, test_fetch.settings())
    assert error.value.reason == "SOURCE_URL_INVALID"
    assert "line break" in error.value.message


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_is_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"http://h.example/{text}"):
        try:
            sent = str(fetch_url.exact(url))
        except ValueError:
            continue
        assert re.fullmatch(r"https?://[\x21-\x7e]+", sent), sent
        assert "#" not in sent


def test_names_beyond_ascii_are_written_as_the_name_system_wants_them() -> None:
    assert str(fetch_url.exact("https://médias.example/é?a=%2F")) == (
        "https://xn--mdias-bsa.example/%C3%A9?a=%2F"
    )
    assert unquote("%C3%A9") == "é"
