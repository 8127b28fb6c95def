"""The orchestrator's settings: environment variables, each with its unit and default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from apigpu_common.listening import Address, AddressIfAny, GrpcAddress
from orchestrator.access.settings import SecuritySettings
from orchestrator.files import paths
from orchestrator.keeping.settings import KeepSettings
from orchestrator.limit_settings import LimitSettings
from orchestrator.webhooks.settings import WebhookSettings


class Settings(SecuritySettings, LimitSettings, KeepSettings, WebhookSettings):
    """Read from variables with the prefix APIGPU_, for example APIGPU_LISTEN."""

    model_config = SettingsConfigDict(env_prefix="APIGPU_", frozen=True, populate_by_name=True)

    listen: GrpcAddress = Field(
        default="127.0.0.1:50051",
        description="Address for gRPC, host:port. Port 0 takes a free one.",
    )
    data_dir: Path = Field(
        default=Path.home() / ".local" / "share" / "apigpu",
        description="Folder of the job database and the files.",
    )
    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="PostgreSQL for the jobs, postgresql://user:password@host/name: what several"
        " orchestrators share. Empty: an SQLite file in the data folder.",
    )
    workers: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses of gRPC workers, separated by commas. Empty: one worker is"
        " started as a child process.",
    )
    runpod_api_key: SecretStr = Field(
        default=SecretStr(""),
        validation_alias=AliasChoices("APIGPU_RUNPOD_API_KEY", "RUNPOD_API_KEY"),
        description="Key of your RunPod account. With RUNPOD_ENDPOINT_ID: work is done on RunPod.",
    )
    runpod_endpoint_id: str = Field(
        default="",
        validation_alias=AliasChoices("APIGPU_RUNPOD_ENDPOINT_ID", "RUNPOD_ENDPOINT_ID"),
        description="The RunPod Serverless endpoint whose workers do the work.",
    )
    runpod_idle_timeout: int = Field(
        default=300,
        ge=0,
        validation_alias=AliasChoices("APIGPU_RUNPOD_IDLE_TIMEOUT", "RUNPOD_IDLE_TIMEOUT"),
        description="Idle time-out of the endpoint's workers in seconds, as GET /runpod/config"
        " tells it where RunPod does not.",
    )
    runpod_max_timeout: int = Field(
        default=600,
        ge=0,
        validation_alias=AliasChoices("APIGPU_RUNPOD_MAX_TIMEOUT", "RUNPOD_MAX_TIMEOUT"),
        description="Execution time-out of the endpoint in seconds, as GET /runpod/config tells"
        " it where RunPod does not.",
    )
    runpod_url: str = Field(
        default="https://api.runpod.ai/v2", description="Where RunPod's API is."
    )
    runpod_rest_url: str = Field(
        default="",
        description="Where RunPod's REST API is, which tells how the endpoint is set up. Default:"
        " https://rest.runpod.io/v1, and none where APIGPU_RUNPOD_URL is not RunPod's.",
    )
    runpod_max_workers: int = Field(
        default=3,
        gt=0,
        description="How many workers a batch is cut for, at most, where the endpoint's own limit"
        " is not known.",
    )
    runpod_worker_slots: int = Field(
        default=3,
        gt=0,
        description="How many items a RunPod worker does at the same time: its BATCH_SIZE.",
    )
    prices: Path | None = Field(
        default=None,
        description="A file with prices of GPUs, of the form of orchestrator/prices.toml. Default:"
        " that one.",
    )
    runpod_cold_start_s: float = Field(
        default=10.0,
        ge=0,
        description="How long a RunPod worker takes to start, in seconds. A batch is cut for"
        " one more worker only where that saves more.",
    )
    runpod_max_tasks: int = Field(
        default=32, gt=0, description="How many tasks are at RunPod at the same time, at most."
    )
    runpod_queue_limit_s: float = Field(
        default=1800.0, gt=0, description="Longest wait of a task for a RunPod worker, in seconds."
    )
    http_listen: Address = Field(
        default="127.0.0.1:3000",
        description="Address for HTTP (REST, Connect, file links), host:port. Port 0 takes a"
        " free one.",
    )
    port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("APIGPU_PORT", "PORT"),
        description="Port for HTTP on every address of this machine, in place of"
        " APIGPU_HTTP_LISTEN.",
    )
    public_url: str = Field(
        default="",
        description="How clients and workers reach the HTTP address, for example"
        " https://api.example.com. Default: http:// and that address.",
    )
    cors_allow_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("*",),
        validation_alias=AliasChoices("APIGPU_CORS_ALLOW_ORIGINS", "CORS_ALLOW_ORIGINS"),
        description="Web origins whose pages may call the service, separated by commas; * is any.",
    )
    http_patience_s: float = Field(
        default=20.0,
        ge=0,
        description="A REST call that waits for its job has an answer, or the head of one, after"
        " so many seconds; then a space follows as often, so that proxies keep it open.",
    )
    storage_url: str = Field(
        default="",
        description="Where files are kept: file:///folder, s3://bucket/prefix, gs://bucket/prefix"
        " or az://container/prefix, with account and credentials in the variables that each"
        " provider's own tools read (AWS_..., GOOGLE_..., AZURE_...). Default: a folder in"
        " APIGPU_DATA_DIR.",
    )
    output_path: Annotated[str, AfterValidator(paths.check)] = Field(
        default="{file}",
        description="Where results lie below APIGPU_STORAGE_URL, for example"
        " {owner}/{job}/{item}.mp4. Fields: owner, job, item, file (its id), filename, date;"
        " characters that are not safe in a path become _. A path that is taken is never written"
        " to: the result then lies beside it, with its id in the name.",
    )
    storage_direct: bool = Field(
        default=True,
        description="Whether workers and clients get signed links straight to such a store;"
        " else its files pass through this service.",
    )
    storage_public_url: str = Field(
        default="",
        description="Where all files can be had without a signature, for example"
        " https://cdn.example.com/videos, if you have made the store public on purpose. Default:"
        " files are private, links to them are signed and expire.",
    )
    upload_expiry_s: float = Field(
        default=24 * 3600.0,
        gt=0,
        description="A cut upload can be gone on with for so many seconds.",
    )
    max_upload_bytes: int = Field(
        default=20 * 2**30, gt=0, description="Longest file that UploadFile takes, in bytes."
    )
    max_items_per_task: int = Field(
        default=16,
        gt=0,
        le=256,  # what the worker tells at the end must stay below a megabyte for RunPod
        description="A task has at most so many items of a batch, so that a long one leaves room"
        " for others.",
    )
    max_tasks_per_owner: int = Field(
        default=0,
        ge=0,
        description="How many tasks of one owner run at the same time, at most. 0: no limit of"
        " its own; owners take turns all the same.",
    )
    max_attempts: int = Field(
        default=3, gt=0, description="Tries at one task before what is left of it fails."
    )
    queue_time_limit_s: float = Field(
        default=24 * 3600.0,
        gt=0,
        le=7 * 24 * 3600,
        description="Longest wait of a job for a worker to begin with it, in seconds, where the"
        " job does not say otherwise.",
    )
    run_time_limit_s: float = Field(
        default=24 * 3600.0,
        gt=0,
        le=7 * 24 * 3600,
        description="Longest run of a job, in seconds, where it does not say otherwise.",
    )
    task_time_limit_s: float = Field(
        default=6 * 3600.0, gt=0, description="Longest run of one attempt, in seconds."
    )
    watch_heartbeat_s: float = Field(
        default=15.0,
        ge=1,
        le=300,
        description="A stream of events without news gets a heartbeat after so many seconds,"
        " where its caller does not say otherwise: proxies keep it, and a dead service shows.",
    )
    lease_s: float = Field(
        default=15.0,
        ge=1,
        le=3600,
        description="A task whose orchestrator is silent for so many seconds is taken over. The"
        " same for all that share a database.",
    )
    grace_s: float = Field(
        default=10.0,
        ge=0,
        description="On SIGTERM, running tasks get so many seconds to end before they are handed"
        " over to the next start.",
    )
    reflection: bool = Field(default=True, description="Whether clients may ask for the contract.")
    log_level: str = Field(
        default="INFO",
        validation_alias=AliasChoices("APIGPU_LOG_LEVEL", "LOG_LEVEL"),
        description="DEBUG, INFO, WARNING or ERROR.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How the log is written: text for people, or json."
    )
    logs_dir: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("APIGPU_LOGS_DIR", "LOGS_DIR"),
        description="Folder for the log as well, in files that are rotated (100 MiB are kept)."
        " Default: none; the log goes to standard error.",
    )
    metrics_listen: AddressIfAny = Field(
        default="",
        description="Address of /metrics for Prometheus, host:port; not for the public. Default:"
        " none. Traces and metrics are sent by OTLP where OTEL_EXPORTER_OTLP_ENDPOINT is set.",
    )

    @property
    def http_address(self) -> str:
        return self.http_listen if self.port is None else f"0.0.0.0:{self.port}"

    @field_validator("workers", "cors_allow_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value
