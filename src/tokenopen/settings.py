"""Settings: what the environment says. The only file that reads it."""

import ipaddress
import os
from collections.abc import Mapping
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tokenopen.core.site import is_loopback
from tokenopen.core.user import EMAIL

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


def _site_address(text: str) -> str:
    """Return the address of a site without a slash at its end. Plain HTTP only for this machine."""
    try:
        parts = urlsplit(text)
        name, port = parts.hostname, parts.port
    except ValueError:
        name, port = None, None
        parts = urlsplit("")
    bare = not (parts.username or parts.query or parts.fragment or parts.path.strip("/"))
    if parts.scheme not in ("http", "https") or not name or not bare:
        raise PydanticCustomError("public_url", "write an address such as https://console.example.com")
    if parts.scheme == "http" and not is_loopback(name):
        raise PydanticCustomError(
            "public_url",
            "it must be https: passwords and sessions would be sent in the clear. A proxy such as Caddy "
            "makes TLS in one line",
        )
    shown = f"[{name}]" if ":" in name else name
    usual = port in (None, 443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{shown}" if usual else f"{parts.scheme}://{shown}:{port}"


def _is_smtp_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


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
    lease_seconds: int = Field(
        default=30,
        ge=2,
        le=50,
        description="How long a worker on another machine may be silent before its calls are given up; "
        "the same for every process on a database.",
    )
    public_url: str = Field(
        default="",
        description="Where browsers reach this service, such as https://console.example.com. Without it the "
        "console can be signed in to on this machine only.",
    )
    smtp_url: SecretStr | None = Field(
        default=None,
        description="Mail server: smtps://USER:PASSWORD@HOST, or smtp://HOST. Without it no mail is sent.",
    )
    mail_from: str = Field(
        default="",
        validate_default=True,
        description="Sender of mails, such as TokenOpen <console@example.com>; required with an SMTP URL.",
    )
    upstream_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated networks (CIDR) that upstreams may lie in besides public addresses.",
    )

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        return _site_address(value) if value else ""

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_smtp_url(value.get_secret_value()):
            raise PydanticCustomError(
                "smtp_url", "write smtps://USER:PASSWORD@HOST or smtp://HOST, special characters as %40"
            )
        return value

    @field_validator("mail_from")
    @classmethod
    def _check_mail_from(cls, value: str, info: ValidationInfo) -> str:
        address = parseaddr(value)[1]
        if value and not (value.isprintable() and EMAIL.fullmatch(address)):
            raise PydanticCustomError("mail_from", "write an address such as TokenOpen <console@example.com>")
        if info.data.get("smtp_url") is not None and not value:
            raise PydanticCustomError("mail_from", "it is required with TOKENOPEN_SMTP_URL")
        return value

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
