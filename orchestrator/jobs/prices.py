"""What a second of each GPU costs: a table that is data, with its source and date. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PriceList:
    """micros_per_second: by the GPU's name, in micro-dollars. has_nvenc: likewise, where it is
    known. source, date: where the prices were read, and when."""

    source: str
    date: str
    micros_per_second: Mapping[str, int]
    has_nvenc: Mapping[str, bool]

    def of(self, gpu: str) -> int:
        """The price of a GPU. One that is not in the list counts as the dearest: what is
        told is never less than what is paid, and a budget holds."""
        return self.micros_per_second.get(gpu, max(self.micros_per_second.values()))


def parse(text: str) -> PriceList:
    """Read the list from TOML. Raises ValueError that says what is wrong."""
    try:
        data = tomllib.loads(text)
        prices: dict[str, int] = {}
        nvenc: dict[str, bool] = {}
        for group in data["gpu"]:
            price = group["micros_per_second"]
            if not isinstance(price, int) or price < 0:
                raise ValueError(f"micros_per_second must be a whole number, not {price!r}")
            for name in group["names"]:
                prices[name] = price
                if "nvenc" in group:
                    nvenc[name] = bool(group["nvenc"])
        if not prices:
            raise ValueError("it has no GPU")
        return PriceList(str(data["source"]), str(data["date"]), prices, nvenc)
    except (KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"the price list is not understood: {error!r}") from error
