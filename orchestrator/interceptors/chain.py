"""What every call goes through, at every door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from apigpu_common.interceptors.errors import ErrorInterceptor
from apigpu_common.interceptors.telemetry import TelemetryInterceptor
from apigpu_common.interceptors.validation import ValidationInterceptor
from orchestrator.access.keys import Authenticator
from orchestrator.interceptors.admission import AdmissionInterceptor
from orchestrator.interceptors.auth import AuthInterceptor
from orchestrator.interceptors.limits import (
    LimitInterceptor,
    Quota,
    RequestCounter,
    quota_by_key,
    quota_by_peer,
)
from orchestrator.interceptors.ownership import OwnershipInterceptor
from orchestrator.settings import Settings
from orchestrator.store.store import Store


@dataclass(frozen=True)
class Chain:
    """What every call goes through, outermost first.

    gates: decide before the request is read. checks: look at the request.
    """

    gates: Sequence[grpc.aio.ServerInterceptor]
    checks: Sequence[grpc.aio.ServerInterceptor]


def chain(
    settings: Settings, authenticator: Authenticator, store: Store, *, ours_alone: bool
) -> Chain:
    """ours_alone: whether only this machine can connect."""
    counter = RequestCounter(settings.limits_storage.get_secret_value())

    by_peer = quota_by_peer(settings.requests_per_peer, settings.watchers_per_peer)
    by_key = quota_by_key(settings.requests_per_key, settings.watchers_per_key)

    def by_stranger(context: object) -> Quota | None:
        """Nobody is counted where only we can connect, and need no key."""
        return None if ours_alone and authenticator.is_open else by_peer(context)

    gates = [
        TelemetryInterceptor(),
        ErrorInterceptor(),
        LimitInterceptor(counter, by_stranger),
        AuthInterceptor(authenticator, settings.keyless),
        LimitInterceptor(counter, by_key),
        AdmissionInterceptor(settings, store, settings.data_dir),
    ]
    return Chain(gates, [ValidationInterceptor(), OwnershipInterceptor(store)])
