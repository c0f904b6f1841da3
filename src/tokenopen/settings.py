"""Settings: what the environment says. The only file that reads it."""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SECRET_LENGTH_MIN: Final = 32
WORKERS_MAX: Final = 256


def _long_enough(secret: SecretStr) -> SecretStr:
    length = len(secret.get_secret_value())
    if length < SECRET_LENGTH_MIN:
        raise PydanticCustomError(
            "secret_too_short",
            "it has {length} characters and needs {least} or more. This makes one: openssl rand -hex 32",
            {"length": length, "least": SECRET_LENGTH_MIN},
        )
    return secret


LongSecret = Annotated[SecretStr, AfterValidator(_long_enough)]


class Settings(BaseSettings):
    """One variable each, named TOKENOPEN_ and the field's name in capitals."""

    # A variable that is set to nothing is as good as absent: compose files pass such ones on.
    model_config = SettingsConfigDict(
        env_prefix="TOKENOPEN_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: str = Field(
        default="", description="Where accounts and calls are stored. Empty: SQLite in the data directory."
    )
    data_dir: Path = Field(default=Path("data"), description="Directory of the embedded database and secret.")
    admin_key: LongSecret | None = Field(
        default=None,
        description="A management key of the first administrator; any string of 32 characters or more.",
    )
    secret_key: LongSecret | None = Field(
        default=None,
        description="Root of key hashing and credential encryption; generated into the data directory "
        "when absent, required with PostgreSQL.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(
        default=1,
        ge=1,
        le=WORKERS_MAX,
        description="Processes that `serve` starts to share the port; more than one needs PostgreSQL.",
    )
    upstream_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated networks (CIDR) that upstreams may lie in besides public addresses.",
    )

    @field_validator("upstream_networks", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(ipaddress.ip_network(part.strip()) for part in value.split(",") if part.strip())
        return value


def child_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a child process: ours without any TOKENOPEN_ variable, then the changes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOKENOPEN_")}
    return {**inherited, **changes}
