"""What options and arguments take: the words for the contract's enums, lengths of time, jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click


class Seconds(click.ParamType[float]):
    """A length of time: "90", "90s", "10m", "2h" or "1d"; becomes seconds."""

    name = "TIME"
    _UNITS: Mapping[str, int] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> float:
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)([smhd]?)", str(value), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is no length of time: say 90s, 10m, 2h or 1d", parameter, context)
        return float(match[1]) * self._UNITS[match[2]]


class Words:
    """Of one enum: "up-left" for PAN_DIRECTION_UP_LEFT, by the prefix "PAN_DIRECTION_"."""

    def __init__(self, enum: Any, prefix: str) -> None:
        self._values: dict[str, Any] = {
            name.removeprefix(prefix).lower().replace("_", "-"): value
            for name, value in enum.items()
            if value
        }

    @property
    def choice(self) -> click.Choice[str]:
        return click.Choice(list(self._values))

    def value(self, word: str | None) -> Any:
        """0, the enum's default, where no word was given."""
        return self._values[word] if word else 0


def job_name(argument: str) -> str:
    """A job by its id or its resource name, whatever is at hand."""
    return argument if argument.startswith("jobs/") else f"jobs/{argument}"
