"""Assemble the worker and run it: what works is found first, then it serves."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import sys
import uuid
from collections.abc import Coroutine
from typing import Any

import grpc
from apigpu.worker.v1 import worker_service_pb2
from apigpu.worker.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server
from grpc_health.v1 import health, health_pb2_grpc

from apigpu_common import listening
from apigpu_common.errors import InternalError
from apigpu_common.health import Health
from apigpu_common.interceptors.errors import ErrorInterceptor
from apigpu_common.interceptors.telemetry import TelemetryInterceptor
from apigpu_common.interceptors.validation import ValidationInterceptor
from apigpu_common.reflection import enable_reflection
from gpu_worker.fetch import Fetcher
from gpu_worker.media.cage_check import CageReport
from gpu_worker.media.cpu import available_cpus
from gpu_worker.media.encoder_choice import HardwarePolicy
from gpu_worker.media.encoders import Toolbox, discover
from gpu_worker.media.gpu import gpu_name, parallel_items
from gpu_worker.media.process import open_the_cage
from gpu_worker.service import WorkerService
from gpu_worker.settings import WorkerSettings
from gpu_worker.workspace import Workspaces

log = logging.getLogger(__name__)

SERVICE = worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name
_STOP_S = 5.0
_MESSAGE_BYTES = 8 * 1024 * 1024
_SERVER_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # An orchestrator that vanished is noticed, and its work stopped, within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


async def run(settings: WorkerSettings, *, die_with_parent: bool) -> None:
    """Serve until SIGTERM, SIGINT, or (die_with_parent) the end of standard input."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if die_with_parent:
        await _watch_standard_input(stop)
    if settings.cage == "off":
        open_the_cage()
    listening.try_grpc("APIGPU_WORKER_LISTEN", settings.listen)
    policy = HardwarePolicy(settings.max_hardware_sessions, settings.min_hardware_clip_s)
    tools = await _unless(stop, discover(settings.ffmpeg, policy))
    if tools is None:
        return
    for probe in tools.encoders:
        log.info("%s %s", probe.name, "works" if probe.works else f"does not work: {probe.reason}")
    _tell_cage(tools.cage, settings.cage)
    async with Workspaces(settings.work_dir) as workspaces, Fetcher(settings) as fetcher:
        sessions = settings.max_hardware_sessions if tools.has_hardware else 0
        at_once = settings.max_parallel_items or parallel_items(available_cpus(), sessions)
        service = WorkerService(
            uuid.uuid4().hex[:12], gpu_name(), tools, workspaces, fetcher, at_once
        )
        server, status, address = await _serve(service, settings.listen)
        log.info("serving on %s, pid %d", address, os.getpid())
        print(f"ready {address}", flush=True)  # noqa: T201  for whoever started us
        await stop.wait()
        log.info("stopping")
        await status.enter_graceful_shutdown()
        await server.stop(_STOP_S if not die_with_parent else 0)


def _tell_cage(cage: CageReport, wanted: str) -> None:
    """Say what the cage holds. Raises InternalError where more was required."""
    held = ", ".join(sorted(cage.held)) or "nothing"
    if not cage.open:
        log.info("children are kept from %s", held)
        return
    missing = ", ".join(cage.open)
    if wanted == "required":
        raise InternalError(
            "CAGE_OPEN",
            f"APIGPU_WORKER_CAGE=required, but children can reach {missing} here: Landlock (Linux"
            " 5.13) and seccomp filters must be there and allowed.",
        )
    log.warning("children are kept from %s, but not from %s", held, missing)


async def _serve(service: WorkerService, listen: str) -> tuple[grpc.aio.Server, Health, str]:
    server = grpc.aio.server(
        interceptors=[TelemetryInterceptor(), ErrorInterceptor(), ValidationInterceptor()],
        options=_SERVER_OPTIONS,
    )
    add_WorkerServiceServicer_to_server(service, server)
    status = Health(["", SERVICE])
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    enable_reflection(server, [SERVICE, health.SERVICE_NAME])
    port = server.add_insecure_port(listen)
    await status.open()
    await server.start()
    address = listen if listen.startswith("unix") else f"{listen.rpartition(':')[0]}:{port}"
    return server, status, address


async def _watch_standard_input(stop: asyncio.Event) -> None:
    """Whoever started us holds the other end; when it dies, the system closes it."""

    class Ended(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stop.set()

    kind = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or sys.stdin.isatty()):
        raise InternalError(
            "STANDARD_INPUT", "--die-with-parent needs a pipe from the parent as standard input."
        )
    await asyncio.get_running_loop().connect_read_pipe(Ended, sys.stdin)


async def _unless(stop: asyncio.Event, doing: Coroutine[Any, Any, Toolbox]) -> Toolbox | None:
    """The result of `doing`; None, and it is cancelled, where we are told to stop before."""
    done = asyncio.create_task(doing)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([done, stopped], return_when=asyncio.FIRST_COMPLETED)
        return await done if done.done() else None
    finally:
        done.cancel()
        stopped.cancel()
        await asyncio.wait([done, stopped])
