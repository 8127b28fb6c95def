"""The words for the values of the contract's enums, as options take them."""

from __future__ import annotations

from typing import Any

import click


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
