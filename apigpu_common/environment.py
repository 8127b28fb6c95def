"""Settings from the environment, and what is wrong with them: told by the variable's name, never
with its value, which may be a secret."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterable
from typing import TypeVar

from pydantic import AliasChoices, ValidationError
from pydantic_settings import BaseSettings

S = TypeVar("S", bound=BaseSettings)


class SettingsError(ValueError):
    """One line for each setting that cannot be used."""


def read(settings: type[S]) -> S:
    """The settings that the environment gives. Raises SettingsError."""
    try:
        return settings()
    except ValidationError as error:
        wrong = [
            f"{_blamed(settings, problem['loc'])}{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("\n".join(wrong)) from None


def variables(settings: type[BaseSettings], name: str) -> list[str]:
    """The names of the variables that set a field, the main one first."""
    alias = settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice).upper() for choice in alias.choices]
    return [f"{settings.model_config.get('env_prefix', '')}{name}".upper()]


def unknown(settings: type[BaseSettings], others: Collection[str] = ()) -> list[str]:
    """A sentence for each variable that is set, begins like one of these settings, and is none.

    others: names that belong to somebody else; one that ends in _ stands for all below it.
    """
    known = {name for field in settings.model_fields for name in variables(settings, field)}
    prefix = settings.model_config.get("env_prefix", "")
    theirs = tuple(other for other in others if other.endswith("_"))
    return [
        f"there is no setting {name}{_instead(name, known)}"
        for name in sorted(map(str.upper, os.environ))
        if name.startswith(prefix)
        and name not in known
        and name not in others
        and not name.startswith(theirs)
    ]


def _blamed(settings: type[BaseSettings], location: tuple[int | str, ...]) -> str:
    """The variable that was set wrongly; nothing where several do not go together."""
    if not location:
        return ""
    for field in settings.model_fields:
        names = variables(settings, field)
        if location[0] == field or location[0] in names:
            return f"{next((name for name in names if name in os.environ), names[0])}: "
    return f"{location[0]}: "


def _instead(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
