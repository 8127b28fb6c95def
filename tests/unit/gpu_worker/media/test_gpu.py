"""The worker's GPU as the driver tells it, and how many items go at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_worker.media.gpu import gpu_name, parallel_items

INFORMATION = """Model: \t\t NVIDIA L4
IRQ:   \t\t 98
GPU UUID: \t GPU-00000000-0000-0000-0000-000000000000
Video BIOS: \t 95.04.29.00.06
Bus Type: \t PCIe
"""


def test_the_name_is_the_drivers(tmp_path: Path) -> None:
    (tmp_path / "0000:00:04.0").mkdir()
    (tmp_path / "0000:00:04.0" / "information").write_text(INFORMATION)
    assert gpu_name(tmp_path) == "NVIDIA L4"


def test_a_machine_without_a_gpu_has_no_name(tmp_path: Path) -> None:
    assert gpu_name(tmp_path / "nothing") == ""


@pytest.mark.parametrize(
    ("cpus", "sessions", "items"),
    [(1, 0, 1), (2, 0, 2), (64, 0, 3), (4, 8, 4), (64, 8, 8), (64, 2, 2)],
)
def test_the_encoder_sets_how_many_items_go_at_once(cpus: int, sessions: int, items: int) -> None:
    assert parallel_items(cpus, sessions) == items
