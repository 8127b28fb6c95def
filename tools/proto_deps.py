"""Materialise the third-party .proto files that ours import, from pinned wheels, into a folder.

google/api and google/rpc come with googleapis-common-protos. buf/validate comes in no wheel as
text: it is printed from the descriptor that protovalidate carries (a test holds it equal). So
buf needs no network, and nothing third-party is committed.
"""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from print_proto import Printer
from protovalidate._gen.buf.validate import validate_pb

_IMPORTED = (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2)


def copy_googleapis(out: Path) -> None:
    for file in metadata.distribution("googleapis-common-protos").files or []:
        if file.suffix == ".proto":
            # Shipped as operations_proto.proto, registered under its real name.
            copy = out / str(file).replace("operations_proto.proto", "operations.proto")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(str(file.locate())), copy)


def print_validate(out: Path) -> None:
    parse = descriptor_pb2.FileDescriptorProto.FromString
    file = parse(validate_pb.desc().proto.to_binary())
    dependencies = [parse(module.DESCRIPTOR.serialized_pb) for module in _IMPORTED]
    path = out / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Printer(file, dependencies).text())


def main(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    copy_googleapis(out)
    print_validate(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
