"""Write docs/configuration.md from the settings classes. With --check, only compare."""

from __future__ import annotations

from pathlib import Path

from pages import write_or_check
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from apigpu_common.environment import variables
from gpu_worker.settings import WorkerSettings
from orchestrator.settings import Settings

HEAD = """# Configuration

Every setting is an environment variable. Made from the settings classes by
`python tools/settings_table.py`.
"""


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


def names(settings: type[BaseSettings], field: str) -> str:
    return " or ".join(f"`{name}`" for name in variables(settings, field))


def table(settings: type[BaseSettings]) -> str:
    rows = [
        f"| {names(settings, name)} | {default(settings, name)} | {field.description} |"
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
