"""Which scope each RPC needs. A new RPC that is not here is closed to everyone but admins."""

from __future__ import annotations

from collections.abc import Mapping

from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from apigpu_common.reflection import V1_SERVICE
from orchestrator.access.identity import Scope

# Any good key is enough.
ANY_KEY = None

_SCOPES: Mapping[str, Mapping[str, Scope | None]] = {
    "apigpu.video.v1.VideoService": {
        "CreateJob": Scope.JOBS_WRITE,
        "RunJob": Scope.JOBS_WRITE,
        "GetJob": Scope.JOBS_READ,
        "ListJobs": Scope.JOBS_READ,
        "WatchJob": Scope.JOBS_READ,
        "WatchJobs": Scope.JOBS_READ,
        "RetryJob": Scope.JOBS_WRITE,
        "CancelJob": Scope.JOBS_WRITE,
        "DeleteJob": Scope.JOBS_WRITE,
        "UploadFile": Scope.FILES,
        "QueryUpload": Scope.FILES,
        "CreateUploadLink": Scope.FILES,
        "CompleteUpload": Scope.FILES,
        "GetFile": Scope.FILES,
        "ListFiles": Scope.FILES,
        "DeleteFile": Scope.FILES,
        "CreateFileLink": Scope.FILES,
        "DownloadFile": Scope.FILES,
        "GetServerInfo": ANY_KEY,
        "GetBackendStatus": Scope.JOBS_READ,
    },
    "apigpu.video.v1.WebhookService": {
        "ListWebhookDeliveries": Scope.JOBS_READ,
        "ResendWebhook": Scope.JOBS_WRITE,
        "GetWebhookSecret": Scope.JOBS_WRITE,
    },
    "apigpu.admin.v1.KeyService": {
        "CreateKey": Scope.ADMIN,
        "ListKeys": Scope.ADMIN,
        "RevokeKey": Scope.ADMIN,
    },
}
SCOPES = {
    f"/{service}/{method}": scope
    for service, methods in _SCOPES.items()
    for method, scope in methods.items()
}
# Services that may be open to callers without a key, by the names that the setting uses.
_KEYLESS = {
    "health": (health.SERVICE_NAME,),
    "reflection": (V1_SERVICE, reflection.SERVICE_NAME),
}


def required(method: str) -> Scope | None:
    """The scope that a call of `method` ("/service/method") needs."""
    if any(method.startswith(f"/{service}/") for each in _KEYLESS.values() for service in each):
        return ANY_KEY
    return SCOPES.get(method, Scope.ADMIN)


def is_keyless(method: str, chosen: frozenset[str]) -> bool:
    """Whether `method` needs no key; chosen: of "health" and "reflection"."""
    return any(method.startswith(f"/{service}/") for name in chosen for service in _KEYLESS[name])
