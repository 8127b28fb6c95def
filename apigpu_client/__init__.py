"""Python client of the video service. Stands on the generated code alone."""

from apigpu_client.client import VideoClient
from apigpu_client.errors import ApiGpuError

__all__ = ["ApiGpuError", "VideoClient"]
