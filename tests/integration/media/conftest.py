"""A studio for each test; which encoders work is found out once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gpu_worker.media.encoders import Toolbox, discover
from tests import media_samples
from tests.studio import Studio


@pytest.fixture(scope="session")
def tools() -> Toolbox:
    return asyncio.run(discover(media_samples.ffmpeg_path()))


@pytest.fixture
def studio(tmp_path: Path, tools: Toolbox) -> Studio:
    return Studio(tmp_path, tools)
