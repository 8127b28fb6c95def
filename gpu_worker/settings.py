"""The worker's settings: environment variables, each with its unit and default."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, IPvAnyNetwork, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from apigpu_common.listening import GrpcAddress

_MIB = 2**20
_GIB = 2**30


class WorkerSettings(BaseSettings):
    """Read from variables with the prefix APIGPU_WORKER_, for example APIGPU_WORKER_LISTEN."""

    model_config = SettingsConfigDict(
        env_prefix="APIGPU_WORKER_", frozen=True, populate_by_name=True
    )

    listen: GrpcAddress = Field(
        default="127.0.0.1:50052",
        description="Address for gRPC, host:port or unix:/path. Port 0 takes a free one.",
    )
    work_dir: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()) / f"apigpu-worker-{os.geteuid()}",
        validation_alias=AliasChoices("APIGPU_WORKER_WORK_DIR", "WORK_DIR"),
        description="Folder for files in the making; what dead workers left there is removed."
        " Default: apigpu-worker-<user id> in the system's folder for temporary files.",
    )
    ffmpeg: Path | None = Field(
        default=None, description="The FFmpeg to use. Default: the one that was installed along."
    )
    max_parallel_items: int | None = Field(
        default=None,
        gt=0,
        validation_alias=AliasChoices("APIGPU_WORKER_MAX_PARALLEL_ITEMS", "BATCH_SIZE"),
        description="How many items are worked on at the same time. Default: one for each CPU,"
        " at most APIGPU_WORKER_MAX_HARDWARE_SESSIONS where a GPU encodes, at most 3 elsewhere.",
    )
    max_hardware_sessions: int = Field(
        default=8,
        ge=0,
        description="How many encodes run on the GPU at the same time; further ones are done in"
        " software. NVIDIA's drivers allow 8 on consumer GPUs.",
    )
    min_hardware_clip_s: float = Field(
        default=0.0,
        ge=0,
        description="Shorter clips are encoded in software, in seconds. To be set where `make"
        " gpu-check` shows that starting the GPU's encoder takes longer than it saves.",
    )
    max_input_bytes: int = Field(
        default=20 * _GIB, gt=0, description="Longest video or sound that is fetched, in bytes."
    )
    max_image_bytes: int = Field(
        default=200 * _MIB, gt=0, description="Longest picture that is fetched, in bytes."
    )
    max_subtitles_bytes: int = Field(
        default=8 * _MIB, gt=0, description="Longest captions that are fetched, in bytes."
    )
    max_font_bytes: int = Field(
        default=32 * _MIB, gt=0, description="Longest font that is fetched, in bytes."
    )
    fetch_timeout_s: float = Field(
        default=1800.0, gt=0, description="Longest time for fetching one input, in seconds."
    )
    fetch_min_bytes_per_s: int = Field(
        default=16 * 1024,
        ge=0,
        description="A source that delivers less is given up, in bytes a second; measured over"
        " APIGPU_WORKER_FETCH_PATIENCE_S.",
    )
    fetch_patience_s: float = Field(
        default=30.0, gt=0, description="How long a source may be too slow, in seconds."
    )
    fetch_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts that inputs may come from, separated by commas; *.example.com stands"
        " for all below example.com. Default: any with a public address.",
    )
    fetch_ports: Annotated[tuple[int, ...], NoDecode] = Field(
        default=(),
        description="Ports that inputs may come from, separated by commas, for example 80,443."
        " Default: any.",
    )
    fetch_allow: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = Field(
        default=(),
        description="Networks that inputs may come from although they are private, separated by"
        " commas, for example 10.0.0.0/8. Default: none; loopback, private and link-local"
        " addresses are refused.",
    )
    cage: Literal["auto", "required", "off"] = Field(
        default="auto",
        description="Whether the processes that read media are shut in (no network, no files of"
        " other jobs, no processes of their own): auto, as far as this machine can; required: a"
        " worker that cannot do all of it does not start; off.",
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_format: Literal["text", "json"] = Field(
        default="text",
        validation_alias=AliasChoices("APIGPU_WORKER_LOG_FORMAT", "APIGPU_LOG_FORMAT"),
        description="How the log is written: text for people, or json.",
    )
    logs_dir: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("APIGPU_WORKER_LOGS_DIR", "APIGPU_LOGS_DIR", "LOGS_DIR"),
        description="Folder for the log as well, in files that are rotated. Default: none.",
    )

    @field_validator("fetch_allow", "fetch_hosts", "fetch_ports", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value
