"""The example programs in every language, really run against the live service: each submits,
is cut off in the middle, goes on where it was, and saves a video that plays."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import av
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Page, async_playwright, expect

from tests.cutting_proxy import CuttingProxy, proxy
from tests.e2e.conftest import Backend
from tests.http_server import serving
from tests.services import Process, process

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "demo" / "media" / "01-mountain-path.jpg"
KEY = "the-key-of-the-examples"
TIMEOUT_S = 110
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), "")
# The project's own tools, such as buf, lie beside its Python.
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "APIGPU_KEY": KEY,
}
JAVA_TOOLS = ("javac", "protoc", "grpc_java_plugin")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    tmp_path_factory: pytest.TempPathFactory, backend: Backend
) -> AsyncIterator[Process]:
    environment = {**backend.environment, "X_API_KEY": KEY}
    async with process(tmp_path_factory.mktemp("data"), **environment) as running:
        yield running


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder, so that what is installed and built leaves nothing behind."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(
        ROOT / "examples",
        folder / "examples",
        ignore=shutil.ignore_patterns("node_modules", "gen", "build"),
    )
    (folder / "gen").symlink_to(ROOT / "gen")
    return folder / "examples"


async def sh(folder: Path, *command: str | Path) -> None:
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(child.communicate(), TIMEOUT_S)
    assert child.returncode == 0, printed.decode()


@dataclass
class Ran:
    """What a program printed, and how it ended."""

    lines: list[str]
    code: int | None


async def run_and_cut(folder: Path, cutting: CuttingProxy, *command: str | Path) -> Ran:
    """Run it, and break its connections off when it has seen some of the job."""
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert child.stdout is not None
    lines = []
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async for line in child.stdout:
                lines.append(line.decode().strip())
                if len(lines) == 3:
                    cutting.cut()
            await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
    return Ran(lines, child.returncode)


def check(ran: Ran, folder: Path) -> None:
    assert ran.code == 0, "\n".join(ran.lines)
    sequences = [int(line.split()[0]) for line in ran.lines if re.fullmatch(r"\d+ \d+ %", line)]
    assert sequences == sorted(set(sequences)), "an event came twice, or too late"
    assert "100 %" in ran.lines[-2]
    (saved,) = folder.iterdir()
    with av.open(str(saved)) as container:
        assert container.streams.video[0].frames == 48


async def test_python(service: Process, examples: Path, tmp_path: Path) -> None:
    async with proxy(service.address) as cutting:
        program = examples / "python" / "main.py"
        command = (sys.executable, program, cutting.address, PICTURE, tmp_path / "out")
        check(await run_and_cut(examples, cutting, *command), tmp_path / "out")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(examples: Path) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("no Node.js here: apt-get install npm")
    folder = examples / "node"
    await sh(folder, "npm", "ci", "--no-audit", "--no-fund")
    await sh(folder, "npm", "run", "generate")
    await sh(folder, "npm", "run", "build")
    return folder


async def test_typescript_on_node(service: Process, node: Path, tmp_path: Path) -> None:
    for protocol, target in (("connect", service.http_address), ("grpc", service.address)):
        out = tmp_path / protocol
        async with proxy(target) as cutting:
            url = f"http://{cutting.address}"
            command = ("node", "build/main.js", url, PICTURE, out, protocol)
            ran = await run_and_cut(node, cutting, *command)
        check(ran, out)
        assert any(line.startswith("cut off") for line in ran.lines)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def java(examples: Path) -> Path:
    missing = [tool for tool in JAVA_TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here: examples/java/build.sh names the packages")
    await sh(examples / "java", "./build.sh")
    return examples / "java"


async def test_java(service: Process, java: Path, tmp_path: Path) -> None:
    classpath = (java / "build" / "classpath").read_text().strip()
    async with proxy(service.address) as cutting:
        command = ("java", "-cp", classpath, "Main", cutting.address, PICTURE, tmp_path / "out")
        ran = await run_and_cut(java, cutting, *command)
    check(ran, tmp_path / "out")
    assert any(line.startswith("cut off") for line in ran.lines)


@pytest_asyncio.fixture(loop_scope="module")
async def page() -> AsyncIterator[Page]:
    if not CHROMIUM:
        pytest.skip("no Chromium here: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield await browser.new_page()
        await browser.close()


async def test_a_page_in_a_browser(
    service: Process, page: Page, examples: Path, tmp_path: Path
) -> None:
    """From another origin, through cuts, to a video that the browser plays."""

    async def files(request: web.Request) -> web.StreamResponse:
        if request.path == "/picture.jpg":
            return web.FileResponse(PICTURE)
        return web.FileResponse(examples / "browser" / request.path.strip("/"))

    async with serving(files) as site, proxy(service.http_address) as cutting:
        await page.goto(f"{site}/index.html")
        await page.get_by_label("Service").fill(f"http://{cutting.address}")
        await page.get_by_label("Key").fill(KEY)
        await page.get_by_label("Picture").fill("ftp://nowhere")
        await page.get_by_role("button").click()
        await expect(page.get_by_role("alert")).to_contain_text("images[0].image.uri")

        await page.get_by_label("Picture").fill(f"{site}/picture.jpg")
        await page.get_by_role("button").click()
        await expect(page.get_by_role("status")).to_contain_text("event")
        cutting.cut()
        await expect(page.locator("video")).to_be_visible(timeout=60_000)
        playing = "video => new Promise(done => { video.onended = () => done(video.currentTime);"
        playing += " video.play() })"
        assert await page.locator("video").evaluate(playing) == pytest.approx(2.0, abs=0.1)
        await page.screenshot(path=os.environ.get("APIGPU_SCREENSHOT", tmp_path / "page.png"))
    assert cutting.cuts == 2  # ours, and the proxy's own end
