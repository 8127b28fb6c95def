"""Print a FileDescriptorProto as .proto source: the inverse of compiling, for files of messages,
enums and extensions (no services)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_encoding,
    text_format,
)
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {value: key.removeprefix("TYPE_").lower() for key, value in _Field.Type.items()}
_LABELS = {
    _Field.LABEL_REPEATED: "repeated ",
    _Field.LABEL_REQUIRED: "required ",
    _Field.LABEL_OPTIONAL: "optional ",
}
_MAX_FIELD_NUMBER = 536870911


class Printer:
    """Prints one file. `dependencies`: the files that it imports."""

    def __init__(
        self,
        file: descriptor_pb2.FileDescriptorProto,
        dependencies: Iterable[descriptor_pb2.FileDescriptorProto],
    ) -> None:
        self._file = file
        self._lines: list[str] = []
        self._depth = 0
        self._pool = descriptor_pool.DescriptorPool()
        for each in [*dependencies, file]:
            self._pool.Add(each)

    def text(self) -> str:
        """The source of the whole file."""
        file = self._file
        assert not file.service, "services are not printed"
        self._line(f'syntax = "{file.syntax or "proto2"}";')
        self._line(f"package {file.package};")
        for index, name in enumerate(file.dependency):
            public = "public " if index in file.public_dependency else ""
            self._line(f'import {public}"{name}";')
        self._option_lines(file.options)
        self._extensions(file.extension)
        for message in file.message_type:
            self._message(message)
        for enum in file.enum_type:
            self._enum(enum)
        return "\n".join(self._lines) + "\n"

    def _line(self, text: str) -> None:
        self._lines.append("  " * self._depth + text)

    @contextmanager
    def _block(self, head: str) -> Iterator[None]:
        self._line(head + " {")
        self._depth += 1
        yield
        self._depth -= 1
        self._line("}")

    def _message(self, message: descriptor_pb2.DescriptorProto) -> None:
        with self._block(f"message {message.name}"):
            self._option_lines(message.options)
            for enum in message.enum_type:
                self._enum(enum)
            for nested in message.nested_type:
                self._message(nested)
            self._fields(message.field, message.oneof_decl)
            self._ranges("reserved", message.reserved_range, exclusive=1)
            for name in message.reserved_name:
                self._line(f'reserved "{name}";')
            self._ranges("extensions", message.extension_range, exclusive=1)
            self._extensions(message.extension)

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto) -> None:
        with self._block(f"enum {enum.name}"):
            self._option_lines(enum.options)
            self._ranges("reserved", enum.reserved_range, exclusive=0)
            for name in enum.reserved_name:
                self._line(f'reserved "{name}";')
            for value in enum.value:
                self._line(f"{value.name} = {value.number}{_tags(self._options(value.options))};")

    def _extensions(self, fields: Iterable[_Field]) -> None:
        for field in fields:
            with self._block(f"extend {field.extendee}"):
                self._field(field)

    def _fields(
        self, fields: Sequence[_Field], oneofs: Sequence[descriptor_pb2.OneofDescriptorProto]
    ) -> None:
        printed: set[int] = set()
        for field in fields:
            if not field.HasField("oneof_index") or field.proto3_optional:
                self._field(field)
            elif field.oneof_index not in printed:
                printed.add(field.oneof_index)
                oneof = oneofs[field.oneof_index]
                with self._block(f"oneof {oneof.name}"):
                    self._option_lines(oneof.options)
                    for member in fields:
                        if (
                            member.HasField("oneof_index")
                            and member.oneof_index == field.oneof_index
                        ):
                            self._field(member, label=False)

    def _field(self, field: _Field, *, label: bool = True) -> None:
        tags = self._options(field.options)
        if field.HasField("default_value"):
            quoted = field.type in (_Field.TYPE_STRING, _Field.TYPE_BYTES)
            value = f'"{field.default_value}"' if quoted else field.default_value
            tags.insert(0, f"default = {value}")
        explicit = (
            self._file.syntax != "proto3"
            or field.label == _Field.LABEL_REPEATED
            or field.proto3_optional
        )
        lead = _LABELS[field.label] if label and explicit else ""
        kind = field.type_name or _TYPES[field.type]
        self._line(f"{lead}{kind} {field.name} = {field.number}{_tags(tags)};")

    def _ranges(self, word: str, ranges: Iterable[Any], *, exclusive: int) -> None:
        for each in ranges:
            end = each.end - exclusive
            stop = "max" if end >= _MAX_FIELD_NUMBER else str(end)
            span = str(each.start) if end == each.start else f"{each.start} to {stop}"
            tags = self._options(each.options) if hasattr(each, "options") else []
            self._line(f"{word} {span}{_tags(tags)};")

    def _option_lines(self, options: Message) -> None:
        for text in self._options(options):
            self._line(f"option {text};")

    def _options(self, options: Message) -> list[str]:
        name = options.DESCRIPTOR.full_name
        known = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))
        texts = []
        for field, value in known.FromString(options.SerializeToString()).ListFields():
            label = f"(.{field.full_name})" if field.is_extension else field.name
            values = value if field.is_repeated else [value]
            texts += [f"{label} = {self._value(field, each)}" for each in values]
        return texts

    def _value(self, field: FieldDescriptor, value: Any) -> str:
        if field.message_type:
            text = text_format.MessageToString(value, as_one_line=True, descriptor_pool=self._pool)
            return "{ " + text + " }"
        if field.enum_type:
            return str(field.enum_type.values_by_number[value].name)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return f'"{text_encoding.CEscape(value.encode(), True)}"'
        return repr(value)


def _tags(tags: Sequence[str]) -> str:
    return f" [{', '.join(tags)}]" if tags else ""
