"""Python client of the video service. Stands on the generated code alone."""

import os

# The level that gRPC documents as its default. Its core forgets it, and writes of every failed
# handshake to standard error, unless it is named before the first import.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from apigpu_client.client import VideoClient
from apigpu_client.errors import ApiGpuError

__all__ = ["ApiGpuError", "VideoClient"]
