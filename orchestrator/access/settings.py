"""Settings of who may call: keys, TLS, and what must be allowed by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class SecuritySettings(BaseSettings):
    """A part of the orchestrator's settings."""

    model_config = SettingsConfigDict(env_prefix="APIGPU_", frozen=True, populate_by_name=True)

    x_api_key: SecretStr = Field(
        default=SecretStr(""),
        validation_alias=AliasChoices("APIGPU_X_API_KEY", "X_API_KEY"),
        description="One key for everything, at least 16 characters. For more than one caller:"
        " `apigpu keys create`.",
    )
    keyless: Annotated[frozenset[Literal["health", "reflection"]], NoDecode] = Field(
        default=frozenset({"health"}),
        description="What may be asked without a key where keys are needed: health, reflection,"
        " separated by commas.",
    )
    tls_cert: Path | None = Field(
        default=None,
        description="Certificate chain (PEM). With APIGPU_TLS_KEY: all listeners speak TLS. Read"
        " again when the file changes.",
    )
    tls_key: Path | None = Field(default=None, description="The certificate's private key (PEM).")
    tls_client_ca: Path | None = Field(
        default=None,
        description="Only clients with a certificate from these authorities (PEM) may connect.",
    )
    tls_client_owner: Literal["", "common-name", "san"] = Field(
        default="",
        description="With APIGPU_TLS_CLIENT_CA: the client certificate's common name, or the first"
        " of its subject alternative names (of a URI the last part), is the owner, and no key is"
        " needed for what is no admin's work. A key that is sent says otherwise. Default: keys say"
        " who a caller is.",
    )
    insecure: Annotated[frozenset[Literal["no-key", "no-tls"]], NoDecode] = Field(
        default=frozenset(),
        description="What is accepted although others than this machine can connect: no-key,"
        " no-tls, separated by commas. no-tls is right behind a proxy that does TLS.",
    )
    link_key: SecretStr = Field(
        default=SecretStr(""),
        description="What links to files of the service itself are signed with, at least 32"
        " characters. Default: made once, and kept in the database.",
    )
    message_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="Longest wait for a caller's next message, in seconds. Over HTTP a body must"
        " keep up 1 kB/s, measured over so many seconds, and so must who reads our answer; a head"
        " has at most 10 s, and as much a TLS handshake.",
    )

    @field_validator("keyless", "insecure", mode="before")
    @classmethod
    def _split_set(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("link_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < 32:
            raise ValueError("a key for links needs at least 32 characters")
        return value

    @field_validator("x_api_key")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < 16:
            raise ValueError("a key of less than 16 characters can be guessed: take a longer one")
        return value

    @model_validator(mode="after")
    def _whole(self) -> SecuritySettings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("APIGPU_TLS_CERT and APIGPU_TLS_KEY go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("APIGPU_TLS_CLIENT_CA needs APIGPU_TLS_CERT and APIGPU_TLS_KEY")
        if self.tls_client_owner and self.tls_client_ca is None:
            raise ValueError("APIGPU_TLS_CLIENT_OWNER needs APIGPU_TLS_CLIENT_CA")
        return self
