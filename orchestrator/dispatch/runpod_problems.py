"""What is wrong with a RunPod endpoint, or likely to become so, and what to do. Pure."""

from __future__ import annotations

from apigpu.video.v1.video_service_pb2 import BackendProblem, BackendStatus

from orchestrator.jobs.prices import PriceList


def problems(status: BackendStatus, prices: PriceList) -> list[BackendProblem]:
    """By the endpoint's workers and, where that is known, how it is set up."""
    found = []
    workers, known = status.workers, status.configuration
    if status.HasField("configuration") and known.max_workers == 0:
        found.append(
            BackendProblem(
                severity=BackendProblem.ERROR,
                reason="NO_WORKERS_ALLOWED",
                message="The endpoint allows no worker at all (RunPod does that to one that nobody"
                " used for a week): set its max workers in RunPod's console.",
            )
        )
    if workers.throttled and not workers.running + workers.idle + workers.initializing:
        found.append(
            _warning(
                "WORKERS_THROTTLED",
                "RunPod has no free GPU of the endpoint's kinds: allow more kinds of GPU or more"
                " data centers in RunPod's console.",
            )
        )
    if workers.unhealthy:
        found.append(
            _warning(
                "WORKERS_UNHEALTHY",
                f"{workers.unhealthy} of the workers cannot work: look at their logs in RunPod's"
                " console.",
            )
        )
    blind = [gpu for gpu in known.gpu_types if prices.has_nvenc.get(gpu) is False]
    if blind:
        found.append(
            _warning(
                "GPU_WITHOUT_ENCODER",
                f"{', '.join(blind)} cannot encode video: it is done in software there, at the"
                " price of the GPU. Choose GPUs with NVENC, such as L4, RTX A4000 or RTX 4090.",
            )
        )
    return found


def _warning(reason: str, message: str) -> BackendProblem:
    return BackendProblem(severity=BackendProblem.WARNING, reason=reason, message=message)
