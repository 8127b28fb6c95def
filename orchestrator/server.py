"""Assemble the orchestrator from its rooms and run it: listeners, health, graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import Sequence

import grpc
from apigpu.admin.v1 import key_service_pb2
from apigpu.admin.v1.key_service_pb2_grpc import add_KeyServiceServicer_to_server
from apigpu.video.v1 import video_service_pb2, webhook_service_pb2
from apigpu.video.v1.job_pb2 import Output
from apigpu.video.v1.video_service_pb2_grpc import add_VideoServiceServicer_to_server
from apigpu.video.v1.webhook_service_pb2_grpc import add_WebhookServiceServicer_to_server
from grpc_health.v1 import health, health_pb2_grpc

from apigpu_common import listening
from apigpu_common.health import Health
from apigpu_common.interceptors.handlers import ChainedInterceptor
from apigpu_common.reflection import enable_reflection
from apigpu_common.systemd import tell_ready
from apigpu_common.telemetry import is_measured
from orchestrator import backend, ids, transport
from orchestrator.access import exposure, own_keys
from orchestrator.access.key_service import KeyService
from orchestrator.access.keys import Authenticator
from orchestrator.access.tls import Certificates, TlsFiles
from orchestrator.census import census
from orchestrator.files.arrivals import Wanted
from orchestrator.files.rooms import Files, open_files
from orchestrator.files.sweeper import Sweeper
from orchestrator.http.application import application
from orchestrator.http.bounded import Bounds
from orchestrator.http.calls import Calls
from orchestrator.http.listener import BACKLOG, HttpListener
from orchestrator.http.permits import Permits
from orchestrator.http.rest.routes import Facts
from orchestrator.http.transfers import Transfers
from orchestrator.interceptors.chain import chain
from orchestrator.interceptors.pace import PaceInterceptor
from orchestrator.interceptors.serialise import SerialiseOnceInterceptor
from orchestrator.keeping.retention import Retention
from orchestrator.running.engine import Engine
from orchestrator.running.instance import new_holder, take_instance
from orchestrator.running.presence import Presence
from orchestrator.service import VideoService
from orchestrator.settings import Settings
from orchestrator.store.store import Store, store_at
from orchestrator.uploads import Uploads
from orchestrator.watch import WatchHub
from orchestrator.webhooks.sender import Secrets, Webhooks
from orchestrator.webhooks.service import WebhookService

log = logging.getLogger(__name__)

SERVICE = video_service_pb2.DESCRIPTOR.services_by_name["VideoService"].full_name
KEY_SERVICE = key_service_pb2.DESCRIPTOR.services_by_name["KeyService"].full_name
WEBHOOK_SERVICE = webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"].full_name
SERVICES = (SERVICE, KEY_SERVICE, WEBHOOK_SERVICE)
_CLOSE_STREAMS_S = 2.0
_LINK_LIFETIME_S = 24 * 3600.0


class Orchestrator:
    """The whole service in one process. Use as `async with`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self.address = ""
        self.http_address = ""

    async def __aenter__(self) -> Orchestrator:
        async with self._stack:
            await self._assemble()
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _assemble(self) -> None:
        """Open every room; each is closed in the opposite order, by the stack."""
        settings = self._settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        store = store_at(settings.database_url.get_secret_value(), settings.data_dir)
        alone = not settings.database_url.get_secret_value()
        instance = self._stack.enter_context(take_instance(settings.data_dir, alone=alone))
        holder = new_holder(instance)
        store.stand_for(holder)
        await store.open()
        self._stack.push_async_callback(store.close)
        authenticator = Authenticator(
            settings.x_api_key.get_secret_value(), store, settings.tls_client_owner
        )
        await self._stack.enter_async_context(authenticator.running())
        listeners = [settings.listen, settings.http_address]
        log.info(exposure.check(listeners, settings, has_keys=not authenticator.is_open))
        await store.free_leases(instance)
        certificates = _certificates(settings)
        http = self._listen(certificates)
        self.http_address = http.address
        dispatcher = backend.make(settings)
        self._stack.push_async_callback(dispatcher.close)
        await dispatcher.open()
        files = await open_files(
            settings,
            link_key=await own_keys.link_key(settings, store),
            own_url=http.url,
            shares_disk=dispatcher.shares_disk,
        )
        hub = WatchHub(store)
        engine = Engine(settings, store, files.storage, dispatcher, hub, files.places, holder)
        uploads = Uploads(store, files.storage, files.spool)
        service = VideoService(
            settings, engine, store, files.storage, uploads, files.links, dispatcher
        )
        ours_alone = all(map(exposure.is_local, listeners))
        shared = chain(settings, authenticator, store, ours_alone=ours_alone)
        everything = [*shared.gates, *shared.checks]
        await self._serve_http(http, service, everything, files, store, engine.wants)
        pace = PaceInterceptor(settings.message_timeout_s)
        keys = KeyService(store, authenticator)
        secrets = Secrets(await own_keys.webhook_keys(settings, store))
        hooks = Webhooks(store, secrets, settings)
        await self._stack.enter_async_context(hooks.running())
        webhooks = WebhookService(store, secrets)
        interceptors = [*shared.gates, pace, *shared.checks, SerialiseOnceInterceptor()]
        await self._serve(service, (keys, webhooks), hub, interceptors, certificates)
        if is_measured(settings.metrics_listen):
            await self._stack.enter_async_context(census(store))
        hub.start()
        if not alone:
            await self._stack.enter_async_context(Presence(store))
        await self._stack.enter_async_context(Retention(store, files.storage, settings))
        await self._stack.enter_async_context(Sweeper(files, engine.wants, settings))
        engine.start()
        self._stack.push_async_callback(engine.stop, settings.grace_s)

    def _listen(self, certificates: Certificates | None) -> HttpListener:
        """Take the addresses before anything that takes long. gRPC takes its own when it serves."""
        settings = self._settings
        listening.try_grpc("APIGPU_LISTEN", settings.listen)
        setting = "APIGPU_HTTP_LISTEN" if settings.port is None else "APIGPU_PORT"
        bound = listening.bind(setting, settings.http_address, BACKLOG)
        http = HttpListener(
            bound,
            settings.http_address.rpartition(":")[0],
            Bounds(settings.max_connections, settings.message_timeout_s),
            certificates.http_context() if certificates else None,
        )
        self._stack.callback(http.release)
        return http

    async def _serve_http(
        self,
        http: HttpListener,
        service: VideoService,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        files: Files,
        store: Store,
        wanted: Wanted,
    ) -> None:
        settings = self._settings
        facts = Facts(
            runpod_endpoint_id=settings.runpod_endpoint_id,
            runpod_idle_timeout_s=settings.runpod_idle_timeout,
            runpod_max_timeout_s=settings.runpod_max_timeout,
            patience_s=settings.http_patience_s,
        )

        async def link(output: Output) -> str:
            file = await store.get_file(ids.id_of(output.file))
            key = file.key if file else ids.id_of(output.file)
            return (await files.links.get(key, output.filename, _LINK_LIFETIME_S))[0]

        doors = application(
            Calls(service, interceptors),
            link,
            facts,
            settings.cors_allow_origins,
            [
                *Transfers(files.storage, files.spool, files.links).routes(),
                *Permits(files.links, wanted).routes(),
            ],
        )
        await http.open(doors)
        self._stack.push_async_callback(http.close)

    async def _serve(
        self,
        service: VideoService,
        more: tuple[KeyService, WebhookService],
        hub: WatchHub,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        certificates: Certificates | None,
    ) -> None:
        settings = self._settings
        chained = ChainedInterceptor(interceptors)
        server = grpc.aio.server(interceptors=[chained], options=transport.options(settings))
        add_VideoServiceServicer_to_server(service, server)
        add_KeyServiceServicer_to_server(more[0], server)
        add_WebhookServiceServicer_to_server(more[1], server)
        status = Health(["", *SERVICES])
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
        if settings.reflection:
            enable_reflection(server, [*SERVICES, health.SERVICE_NAME])
        host = settings.listen.rpartition(":")[0]
        if certificates is None:
            port = server.add_insecure_port(settings.listen)
        else:
            port = server.add_secure_port(settings.listen, certificates.grpc_credentials())
        self.address = f"{host}:{port}"
        await status.open()
        await server.start()

        async def close() -> None:
            hub.stop()
            await server.stop(_CLOSE_STREAMS_S)

        self._stack.push_async_callback(close)
        # Runs last on the way in and first on the way out, before the engine is stopped.
        self._enter_shutdown = status.enter_graceful_shutdown

    async def drain(self) -> None:
        """Tell health watchers that this server is going away; running work goes on."""
        await self._enter_shutdown()


def _certificates(settings: Settings) -> Certificates | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificates(TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca))


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Orchestrator(settings) as orchestrator:
        # What stands now stands for good: it is not gone through again and again for garbage.
        gc.freeze()
        log.info(
            "serving gRPC on %s and HTTP on %s, pid %d",
            *(orchestrator.address, orchestrator.http_address, os.getpid()),
        )
        print(f"ready {orchestrator.address} {orchestrator.http_address}", flush=True)  # noqa: T201  for whoever started us
        tell_ready()
        await stop.wait()
        log.info("stopping")
        await orchestrator.drain()
