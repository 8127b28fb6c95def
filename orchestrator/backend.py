"""Which backend does the work, by the settings; and whether it can work at all."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from google.rpc import code_pb2

from apigpu_common.errors import ServiceError
from orchestrator.access import exposure
from orchestrator.dispatch.base import Dispatcher
from orchestrator.dispatch.child import ChildDispatcher
from orchestrator.dispatch.grpc_workers import GrpcDispatcher
from orchestrator.dispatch.runpod import RunpodDispatcher
from orchestrator.dispatch.runpod_api import RunpodApi
from orchestrator.jobs import prices
from orchestrator.jobs.prices import PriceList
from orchestrator.jobs.sharding import Fleet
from orchestrator.settings import Settings

_OBJECT_STORES = ("s3://", "gs://", "az://")
RUNPOD_REST_URL = "https://rest.runpod.io/v1"
_PRICES = Path(__file__).with_name("prices.toml")


def make(settings: Settings) -> Dispatcher:
    """Raises ServiceError, with what to do, where a setting is missing."""
    if settings.runpod_endpoint_id:
        return _runpod(settings)
    if settings.workers:
        return GrpcDispatcher(settings.workers, name="workers", shares_disk=False)
    return ChildDispatcher(settings.data_dir / "work")


def _runpod(settings: Settings) -> RunpodDispatcher:
    key = settings.runpod_api_key.get_secret_value()
    if not key:
        raise _refused(
            "RUNPOD_ENDPOINT_ID is set, but RUNPOD_API_KEY is not: make a key in RunPod's console"
            " under Settings, API Keys. To work on this machine, unset RUNPOD_ENDPOINT_ID"
        )
    # An emulated RunPod on this machine can reach it; the real one cannot.
    # With an object store workers need not reach us at all.
    through_us = not settings.storage_url.startswith(_OBJECT_STORES) or not settings.storage_direct
    if through_us and not _is_here(settings.runpod_url) and _is_here(settings.public_url):
        raise _refused(
            f"RunPod's workers cannot reach {settings.public_url or 'this machine'}: they fetch"
            " uploaded files and bring results over HTTP. Set APIGPU_HTTP_LISTEN to an address that"
            " others can connect to, and APIGPU_PUBLIC_URL to how it is reached from the Internet,"
            " for example https://api.example.com; or keep files in an object store"
            " (APIGPU_STORAGE_URL)"
        )
    rest_url = settings.runpod_rest_url
    if not rest_url and urlsplit(settings.runpod_url).hostname == "api.runpod.ai":
        rest_url = RUNPOD_REST_URL
    api = RunpodApi(settings.runpod_url, rest_url, settings.runpod_endpoint_id, key)
    fleet = Fleet(
        settings.runpod_max_workers, settings.runpod_worker_slots, settings.runpod_cold_start_s
    )
    return RunpodDispatcher(
        api,
        fleet,
        price_list(settings.prices),
        settings.runpod_max_tasks,
        settings.runpod_queue_limit_s,
    )


def price_list(own: Path | None) -> PriceList:
    """The operator's list, or the one that comes along."""
    try:
        return prices.parse((own or _PRICES).read_text())
    except (OSError, ValueError) as error:
        raise _refused(f"APIGPU_PRICES: {own} cannot be used: {error}") from error


def _is_here(url: str) -> bool:
    """Whether a URL leads to this machine alone. None at all does."""
    host = urlsplit(url).hostname or "127.0.0.1"
    return exposure.is_local(f"[{host}]:0" if ":" in host else f"{host}:0")


def _refused(message: str) -> ServiceError:
    return ServiceError(code_pb2.FAILED_PRECONDITION, "BACKEND_NOT_USABLE", message)
