"""protoc plugin: gRPC's own Python generator (built into grpcio-tools), for buf."""

import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2
from grpc_tools import protoc


def main() -> int:
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    with tempfile.TemporaryDirectory() as tmp:
        image, out = Path(tmp, "image.binpb"), Path(tmp, "out")
        out.mkdir()
        image.write_bytes(
            descriptor_pb2.FileDescriptorSet(file=request.proto_file).SerializeToString()
        )
        code = protoc.main(
            [
                "protoc",
                f"--descriptor_set_in={image}",
                f"--grpc_python_out={request.parameter + ':' if request.parameter else ''}{out}",
                *request.file_to_generate,
            ]
        )
        if code:
            response.error = f"grpc_python generator exited {code}"
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text())
    sys.stdout.buffer.write(response.SerializeToString())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
