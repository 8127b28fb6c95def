"""Settings of how long what is kept. 0 means: for ever."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_DAY_S = 86400.0


class KeepSettings(BaseSettings):
    """A part of the orchestrator's settings."""

    model_config = SettingsConfigDict(env_prefix="APIGPU_", frozen=True, populate_by_name=True)

    keep_jobs_s: float = Field(
        default=30 * _DAY_S,
        ge=0,
        description="Jobs are removed so many seconds after their end, with their results. 0:"
        " never.",
    )
    keep_events_s: float = Field(
        default=7 * _DAY_S,
        ge=0,
        description="So many seconds after a job's end its events are removed, but for the last"
        " one, which carries the whole job. 0: with the job.",
    )
    keep_uploads_s: float = Field(
        default=7 * _DAY_S,
        ge=0,
        description="An upload that no job needs is removed so many seconds after it came. 0:"
        " never.",
    )
    sweep_interval_s: float = Field(
        default=60.0, gt=0, description="How often what is too old is looked for, in seconds."
    )
