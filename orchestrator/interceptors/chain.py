"""What every call goes through, at every door."""

from __future__ import annotations

import grpc

from apigpu_common.interceptors.errors import ErrorInterceptor
from apigpu_common.interceptors.telemetry import TelemetryInterceptor
from apigpu_common.interceptors.validation import ValidationInterceptor
from orchestrator.interceptors.admission import AdmissionInterceptor
from orchestrator.interceptors.auth import AuthInterceptor
from orchestrator.interceptors.limits import LimitInterceptor, RequestCounter, key_of, peer_of
from orchestrator.interceptors.ownership import OwnershipInterceptor
from orchestrator.keys import Authenticator
from orchestrator.settings import Settings
from orchestrator.store.store import Store


def chain(
    settings: Settings, authenticator: Authenticator, store: Store, *, ours_alone: bool
) -> list[grpc.aio.ServerInterceptor]:
    """The interceptors, outermost first. ours_alone: whether only this machine can connect."""
    counter = RequestCounter(settings.limits_storage.get_secret_value())

    def peer(context: object) -> str:
        """Nobody is counted where only we can connect, and need no key."""
        return "" if ours_alone and authenticator.is_open else peer_of(context)

    return [
        TelemetryInterceptor(),
        ErrorInterceptor(),
        LimitInterceptor(counter, peer, settings.requests_per_peer, settings.watchers_per_peer),
        AuthInterceptor(authenticator, settings.keyless),
        LimitInterceptor(counter, key_of, settings.requests_per_key, settings.watchers_per_key),
        AdmissionInterceptor(settings, store, settings.data_dir),
        ValidationInterceptor(),
        OwnershipInterceptor(store),
    ]
