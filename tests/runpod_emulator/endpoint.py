"""The endpoint's configuration, as rest.runpod.io/v1/endpoints/{id} tells it."""

from __future__ import annotations

from typing import Any

from tests.runpod_emulator.policy import Policy

# Stands in the environment of a template: nobody may show it.
TEMPLATE_SECRET = "hf_secret_of_the_template"


def configuration(endpoint: str, policy: Policy) -> dict[str, Any]:
    return {
        "id": endpoint,
        "name": "api-gpu -fb" if policy.flash_boot else "api-gpu",
        "userId": "user_emulated",
        "templateId": "tpl_emulated",
        "version": 1,
        "createdAt": "2026-08-01T12:00:00.000Z",
        "computeType": "GPU",
        "gpuTypeIds": ["NVIDIA L4"],
        "gpuCount": 1,
        "workersMin": policy.workers_min,
        "workersMax": policy.workers_max,
        "idleTimeout": int(policy.idle_timeout_s),
        "executionTimeoutMs": int(policy.execution_timeout_s * 1000),
        "scalerType": "QUEUE_DELAY",
        "scalerValue": max(1, int(policy.queue_delay_s)),
        "flashboot": policy.flash_boot,
        "networkVolumeId": None,
        "env": {"HF_TOKEN": TEMPLATE_SECRET},
    }
