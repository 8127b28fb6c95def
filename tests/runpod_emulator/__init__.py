"""RunPod Serverless on loopback: both sides of its HTTP protocol, and workers that come and go.

Stands in for the cloud alone: the workers are our own program under the unmodified SDK.
"""

from tests.runpod_emulator.cloud import Cloud, running

__all__ = ["Cloud", "running"]
