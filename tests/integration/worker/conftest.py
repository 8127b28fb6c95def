"""Transfers are tried again at once: tests count the tries, nobody has to wait for them."""

from __future__ import annotations

import pytest

from gpu_worker import deliver, fetch


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (deliver, fetch):
        monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.01)
