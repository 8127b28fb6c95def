"""Settings of what is told to webhooks."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class WebhookSettings(BaseSettings):
    """A part of the orchestrator's settings."""

    model_config = SettingsConfigDict(env_prefix="APIGPU_", frozen=True, populate_by_name=True)

    webhook_keys: SecretStr = Field(
        default=SecretStr(""),
        description="What the owners' webhook secrets are derived from, at least 32 characters; two"
        " of them, separated by a comma, while one is changed for the other: the first is the new"
        " one. Default: made once, and kept in the database.",
    )
    webhook_allow: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Networks that webhooks may be in although they are private, separated by"
        " commas. Default: none.",
    )
    webhook_retry_for_s: float = Field(
        default=24 * 3600.0, gt=0, description="How long a webhook is tried, in seconds."
    )
    webhook_first_pause_s: float = Field(
        default=5.0, gt=0, description="Pause before the second try; each next one is longer."
    )

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("webhook_keys")
    @classmethod
    def _long(cls, value: SecretStr) -> SecretStr:
        if any(len(key) < 32 for key in value.get_secret_value().split(",") if key):
            raise ValueError("a webhook key needs at least 32 characters")
        return value
