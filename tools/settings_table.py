"""Write docs/configuration.md from the settings classes. With --check, only compare."""

from __future__ import annotations

from pathlib import Path

from pages import write_or_check
from pydantic import AliasChoices, SecretStr
from pydantic_settings import BaseSettings

from gpu_worker.settings import WorkerSettings
from orchestrator.settings import Settings

HEAD = """# Configuration

Every setting is an environment variable. Made from the settings classes by
`python tools/settings_table.py`.
"""


def variables(settings: type[BaseSettings], name: str) -> str:
    """The names of the variables that set a field, the main one first."""
    alias = settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return " or ".join(f"`{str(choice).upper()}`" for choice in alias.choices)
    return f"`{settings.model_config.get('env_prefix', '')}{name}`".upper()


def default(settings: type[BaseSettings], name: str) -> str:
    field = settings.model_fields[name]
    if field.default_factory is not None:
        return "see right"
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()  # a default is no secret
    if isinstance(value, tuple | frozenset):
        value = ",".join(sorted(map(str, value)))
    text = str(value).replace(str(Path.home()), "~")
    return f"`{text}`" if text not in ("", "None") else ""


def table(settings: type[BaseSettings]) -> str:
    rows = [
        f"| {variables(settings, name)} | {default(settings, name)} | {field.description} |"
        for name, field in settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def page() -> str:
    return (
        f"{HEAD}\n## Orchestrator\n\n{table(Settings)}\n\n## Worker\n\n"
        "A worker that the orchestrator starts takes the orchestrator's environment.\n\n"
        f"{table(WorkerSettings)}\n"
    )


if __name__ == "__main__":
    raise SystemExit(write_or_check("configuration.md", page))
