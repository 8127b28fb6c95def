"""RunPod's SDK, unmodified: imported without what it does not need, and what it leaves undone."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)


def load() -> Any:
    """The module `runpod`, in a third of the time that its import takes by itself.

    At import it asks for the processor's name, which takes a second, for a debugger that we do
    not use; and it loads an SSH library for a command line that we do not use.
    """
    cpuinfo = ModuleType("cpuinfo")
    cpuinfo.get_cpu_info = dict  # type: ignore[attr-defined]
    sys.modules.setdefault("cpuinfo", cpuinfo)
    _import_when_used("paramiko")
    import runpod

    return runpod


def _import_when_used(name: str) -> None:
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def give_back_what_never_ran() -> None:
    """Fail the jobs that came in answer to a poll that was open when we were told to go.

    The SDK takes them, never runs them and ends; RunPod would wait for them in vain.
    """
    from runpod.http_client import AsyncClientSession
    from runpod.serverless.modules.rp_http import send_result
    from runpod.serverless.modules.worker_state import JobsProgress

    left = [{"id": job.id} for job in JobsProgress()]

    async def fail_them() -> None:
        async with AsyncClientSession() as session:
            for job in left:
                log.warning("job %s came too late", job["id"])
                await send_result(session, {"error": "the worker was going away"}, job)

    if left:
        asyncio.run(fail_them())
