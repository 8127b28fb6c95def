"""What RunPod's template and endpoint should be, and in what they are not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# RunPod adds it to the name of an endpoint with FlashBoot.
_FLASH_BOOT = " -fb"


class Ambiguous(ValueError):
    """More than one thing at RunPod has the name: it is not ours to choose."""


@dataclass(frozen=True)
class Wish:
    """name: of template and endpoint, by which they are found again.
    env: variables of the workers; others that are set at RunPod stay as they are.
    gpus: RunPod's names of GPUs, the best first.
    """

    name: str
    image: str
    gpus: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    min_workers: int = 0
    max_workers: int = 3
    idle_timeout_s: int = 10
    disk_gb: int = 20

    def template(self) -> dict[str, Any]:
        """The start command is empty: the image's own is run, as the first process."""
        return {
            "name": self.name,
            "imageName": self.image,
            "containerDiskInGb": self.disk_gb,
            "dockerEntrypoint": [],
            "dockerStartCmd": [],
            "env": dict(self.env),
        }

    def new_template(self) -> dict[str, Any]:
        """With what cannot be changed later. Our workers listen nowhere and keep nothing."""
        only_once = {"isServerless": True, "isPublic": False, "category": "NVIDIA"}
        return {**self.template(), **only_once, "ports": [], "volumeInGb": 0}

    def endpoint(self, template: str) -> dict[str, Any]:
        return {
            "name": self.name,
            "templateId": template,
            "gpuTypeIds": list(self.gpus),
            "workersMin": self.min_workers,
            "workersMax": self.max_workers,
            "idleTimeout": self.idle_timeout_s,
        }

    def new_endpoint(self, template: str) -> dict[str, Any]:
        how = {"computeType": "GPU", "gpuCount": 1, "flashboot": True}
        return {**self.endpoint(template), **how, "scalerType": "QUEUE_DELAY", "scalerValue": 4}


@dataclass(frozen=True)
class Change:
    """One field. Values of variables are never shown: they may be secrets."""

    field: str
    old: str
    new: str

    def __str__(self) -> str:
        return (
            f"{self.field}: {self.old} -> {self.new}" if self.old else f"{self.field}: {self.new}"
        )


def named(found: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The one that has the name, if there is one. Raises Ambiguous."""
    same = [each for each in found if _plain(each.get("name")) == name]
    if len(same) > 1:
        ids = ", ".join(str(each.get("id")) for each in same)
        raise Ambiguous(f"RunPod has {len(same)} of the name {name} ({ids}): rename or remove some")
    return same[0] if same else None


def update(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The fields to send so that `found` becomes as wanted; empty where it is."""
    body = {}
    for key, value in wanted.items():
        if key == "env":
            merged = {**(found.get("env") or {}), **value}
            if merged != (found.get("env") or {}):
                body[key] = merged
        elif key == "name":
            if _plain(found.get(key)) != value:
                body[key] = value
        elif (found.get(key) or _nothing(value)) != value:
            body[key] = value
    return body


def changes(found: Mapping[str, Any], body: Mapping[str, Any]) -> list[Change]:
    """What sending `body` changes in what was found (empty: it is new), to be shown."""
    shown = []
    for key, new in body.items():
        old = found.get(key)
        if key != "env":
            shown.append(Change(key, _text(old) if found else "", _text(new)))
            continue
        before = old or {}
        for name in sorted(new):
            if name not in before:
                shown.append(Change(f"env {name}", "", "set"))
            elif new[name] != before[name]:
                shown.append(Change(f"env {name}", "another value", "set"))
    return shown


def _nothing(value: object) -> object:
    """RunPod leaves out, or tells as null, what is empty."""
    return type(value)()


def _plain(name: object) -> str:
    return str(name or "").removesuffix(_FLASH_BOOT)


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
