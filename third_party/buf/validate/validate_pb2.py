"""buf.validate for google.protobuf, from the descriptor inside the protovalidate package.

Generated code imports this module for the rules that fields carry. Buf ships it in no
Python package; registering the descriptor that protovalidate itself uses keeps the two
equal by construction.
"""

from google.protobuf import (
    descriptor_pb2,  # noqa: F401  registers the files that the descriptor imports
    descriptor_pool,
    duration_pb2,  # noqa: F401
    field_mask_pb2,  # noqa: F401
    timestamp_pb2,  # noqa: F401
)
from google.protobuf.internal import builder
from protovalidate._gen.buf.validate import validate_pb

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(validate_pb.desc().proto.to_binary())
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, "buf.validate.validate_pb2", globals())
