"""Write docs/api.md from the public contract and its comments. With --check, only compare."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from google.api import field_behavior_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from pages import write_or_check

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = "apigpu.video.v1"
HEAD = """# API reference

Made from the contract ([`proto/apigpu/video/v1`](../proto/apigpu/video/v1)) by
`python tools/api_page.py`. Rules that are marked there (lengths, ranges, patterns) are checked
before anything else; a request that breaks one is answered with INVALID_ARGUMENT and the path of
the field. Fields that only the service sets are marked *output*.
"""
_Path = tuple[int, ...]
# Numbers of the fields of descriptors: where a comment belongs is told in them.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6  # of a file
_FIELDS, _NESTED, _NESTED_ENUMS = 2, 3, 4  # of a message
_MEMBERS = 2  # values of an enum, methods of a service


class Page:
    """The part of the page for one file of the contract."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._comments = {
            tuple(location.path): location.leading_comments
            for location in file.source_code_info.location
        }

    def services(self) -> Iterator[str]:
        for index, service in enumerate(self._file.service):
            yield from self._service(service, (_SERVICES, index))

    def types(self) -> Iterator[str]:
        for index, message in enumerate(self._file.message_type):
            yield from self._message(message, (_MESSAGES, index), message.name)
        for index, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, (_ENUMS, index), enum.name)

    def _text(self, path: _Path) -> str:
        return " ".join(self._comments.get(path, "").split())

    def _service(self, service: ServiceDescriptorProto, path: _Path) -> Iterator[str]:
        yield f"\n## {service.name}\n\n{self._text(path)}\n"
        yield "\n| call | takes | gives | |\n|---|---|---|---|\n"
        for index, method in enumerate(service.method):
            takes = _link(method.input_type, stream=method.client_streaming)
            gives = _link(method.output_type, stream=method.server_streaming)
            what = _cell(self._text((*path, _MEMBERS, index)))
            yield f"| **{method.name}** | {takes} | {gives} | {what} |\n"

    def _message(self, message: DescriptorProto, path: _Path, name: str) -> Iterator[str]:
        if message.options.map_entry:
            return
        yield f"\n### {name}\n\n{self._text(path)}\n"
        if message.field:
            yield "\n| field | type | |\n|---|---|---|\n"
        maps = {f".{PUBLIC}.{name}.{m.name}": m for m in message.nested_type}
        for index, field in enumerate(message.field):
            text = _cell(self._text((*path, _FIELDS, index)))
            behavior = field.options.Extensions[field_behavior_pb2.field_behavior]
            output = "*Output.* " if field_behavior_pb2.OUTPUT_ONLY in behavior else ""
            yield f"| `{field.name}` | {_type(field, maps)} | {output}{text} |\n"
        for index, nested in enumerate(message.nested_type):
            yield from self._message(nested, (*path, _NESTED, index), f"{name}.{nested.name}")
        for index, enum in enumerate(message.enum_type):
            yield from self._enum(enum, (*path, _NESTED_ENUMS, index), f"{name}.{enum.name}")

    def _enum(self, enum: EnumDescriptorProto, path: _Path, name: str) -> Iterator[str]:
        yield f"\n### {name}\n\n{self._text(path)}\n\n| value | |\n|---|---|\n"
        for index, value in enumerate(enum.value):
            yield f"| `{value.name}` | {_cell(self._text((*path, _MEMBERS, index)))} |\n"


def _type(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    entry = maps.get(field.type_name)
    if entry is not None and entry.options.map_entry:
        key, value = entry.field
        return f"map of {_type(key, {})} to {_type(value, {})}"
    if field.type_name:
        name = _link(field.type_name)
    else:
        name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {name}"
    return f"optional {name}" if field.proto3_optional else name


def _link(type_name: str, *, stream: bool = False) -> str:
    name = type_name.removeprefix(f".{PUBLIC}.").lstrip(".")
    ours = type_name.startswith(f".{PUBLIC}.")
    text = f"[{name}](#{name.lower().replace('.', '')})" if ours else f"`{name}`"
    return f"stream of {text}" if stream else text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def page() -> str:
    command = ["buf", "build", "proto", "-o", "-#format=binpb"]
    built = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    files = FileDescriptorSet.FromString(built.stdout).file
    pages = [Page(file) for file in files if file.package == PUBLIC]
    services = "".join(part for each in pages for part in each.services())
    types = "".join(part for each in pages for part in each.types())
    return f"{HEAD}{services}\n## Messages\n{types}"


if __name__ == "__main__":
    raise SystemExit(write_or_check("api.md", page))
