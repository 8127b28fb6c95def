"""Settings of how much a caller, and all callers together, may take."""

from __future__ import annotations

import limits
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class LimitSettings(BaseSettings):
    """A part of the orchestrator's settings. Limits of a caller hold where keys are in use, or
    others than this machine can connect; a key may have limits of its own."""

    model_config = SettingsConfigDict(env_prefix="APIGPU_", frozen=True, populate_by_name=True)

    requests_per_key: str = Field(
        default="3000/minute",
        description="Calls that each API key may make, like 100/second or 3000/minute. Empty:"
        " no limit.",
    )
    requests_per_peer: str = Field(
        default="3000/minute",
        description="Calls that may come from one address (IPv6: one /64 network), whatever"
        " their keys. Behind a proxy all calls come from its address.",
    )
    watchers_per_key: int = Field(
        default=1000, gt=0, description="Streams of events or files that each key may have open."
    )
    watchers_per_peer: int = Field(
        default=1000, gt=0, description="Streams that may be open to one address."
    )
    limits_storage: SecretStr = Field(
        default=SecretStr("async+memory://"),
        description="Where calls are counted: async+memory:// for each replica by itself,"
        " async+redis://host:port for all together (needs the extra `redis`).",
    )
    max_connections: int = Field(
        default=4096,
        gt=0,
        description="gRPC connections that may be open at the same time, and as many over HTTP.",
    )
    max_streams_per_connection: int = Field(
        default=1024, gt=0, description="Calls that may be open on one gRPC connection."
    )
    connection_idle_s: float = Field(
        default=300.0,
        gt=0,
        description="A gRPC connection without any call is closed after so many seconds; clients"
        " connect again by themselves.",
    )

    max_jobs: int = Field(
        default=100_000, gt=0, description="Jobs that have not ended; beyond it none is accepted."
    )
    max_jobs_per_owner: int = Field(
        default=10_000, gt=0, description="The same for one owner's jobs."
    )
    max_stored_bytes_per_owner: int = Field(
        default=200 * 2**30,
        gt=0,
        description="An owner whose files, uploads and results, take so many bytes can upload"
        " nothing more, and make no more jobs.",
    )
    min_free_disk_bytes: int = Field(
        default=2**30,
        ge=0,
        description="With less free on the disk of APIGPU_DATA_DIR no job is accepted, and no"
        " upload that would leave less.",
    )
    min_free_memory_bytes: int = Field(
        default=128 * 2**20,
        ge=0,
        description="The same for memory, of the machine and of our control group.",
    )

    @field_validator("requests_per_key", "requests_per_peer")
    @classmethod
    def _readable(cls, value: str) -> str:
        if value:
            limits.parse(value)  # ValueError says what is wrong
        return value
