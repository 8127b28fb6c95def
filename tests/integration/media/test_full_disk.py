"""A disk without room is told as that: the encoder is not blamed, and another worker may try."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from apigpu.worker.v1.worker_service_pb2 import FileLocation
from google.rpc import code_pb2
from PIL import Image

from apigpu_common.errors import ServiceError
from gpu_worker.deliver import deliver
from gpu_worker.media.encoders import Toolbox
from tests.stills import order
from tests.studio import Studio

_SIZE_BYTES = 256 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={_SIZE_BYTES}", "small", folder)
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(("umount", folder), check=True)


def is_told(error: ServiceError) -> bool:
    told = (error.code, error.reason, error.retryable)
    return told == (code_pb2.RESOURCE_EXHAUSTED, "WORKER_DISK_FULL", True)


async def test_a_clip_that_the_disk_cannot_hold(
    small_disk: Path, tmp_path: Path, tools: Toolbox
) -> None:
    grain = np.random.default_rng(1).integers(0, 256, (360, 640), np.uint8)
    Image.fromarray(grain).save(tmp_path / "a.png")
    image, batch = order(tmp_path / "a.png", 2.0)
    with pytest.raises(ServiceError) as failed:
        await Studio(small_disk, tools).animate(image, item_id="it", batch=batch)
    assert is_told(failed.value)


async def test_a_result_that_its_place_cannot_hold(small_disk: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.mp4"
    result.write_bytes(bytes(2 * _SIZE_BYTES))
    with pytest.raises(ServiceError) as failed:
        await deliver(result, FileLocation(path=str(small_disk / "there.mp4")))
    assert is_told(failed.value)
    assert not list(small_disk.iterdir()), "half a file is left"
