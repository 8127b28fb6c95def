"""An orchestrator knows itself again, and never stands beside itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from apigpu_common.errors import PreconditionFailed
from orchestrator.running.instance import new_holder, take_instance


def test_it_is_the_same_after_a_restart_but_another_run(tmp_path: Path) -> None:
    with take_instance(tmp_path, alone=True) as first:
        holder = new_holder(first)
    with take_instance(tmp_path, alone=True) as again:
        assert again == first
        assert new_holder(again) != holder
        assert new_holder(again).startswith(f"{first}-")


def test_a_folder_with_a_database_in_it_is_not_shared(tmp_path: Path) -> None:
    with (
        take_instance(tmp_path, alone=True),
        pytest.raises(PreconditionFailed, match="Another orchestrator"),
        take_instance(tmp_path, alone=True),
    ):
        pass


def test_those_that_share_a_folder_have_ids_of_their_own(tmp_path: Path) -> None:
    with (
        take_instance(tmp_path, alone=False) as one,
        take_instance(tmp_path, alone=False) as other,
    ):
        assert one != other
