"""RunPod Serverless on loopback: both sides of its HTTP protocol, and workers that come and go.

Stands in for the cloud alone: the workers are our own program under the unmodified SDK.
`python -m tests.runpod_emulator` serves it.
"""

from tests.runpod_emulator.cloud import ENDPOINT, KEY, Cloud, running
from tests.runpod_emulator.policy import Policy

__all__ = ["ENDPOINT", "KEY", "Cloud", "Policy", "running"]
