"""Every setting of the platform, read once from the environment.

Each field is an environment variable ``CONVERSION_ASSETS_<FIELD>``; none is needed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

GIB = 2**30


def default_home() -> Path:
    """Where everything lives unless told otherwise: the XDG data folder of the user.

    Source: XDG Base Directory Specification, https://specifications.freedesktop.org/basedir-spec/latest/
    """
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (data if data.is_absolute() else Path.home() / ".local" / "share") / "conversion_assets"


class Settings(BaseSettings):
    """Settings of the embedded default.

    Attributes:
        home: the one folder that holds everything: inbox, staging, products, catalogue, Dagster.
        owner: owner of orders that name none.
        facility: name written as ``processing:facility`` of the items.
        schemes: URL schemes from which products may be fetched.
        threads: threads of one conversion.
        memory_limit_bytes: resident bytes one conversion may use.
        time_limit_seconds: wall seconds one conversion may take.
        archive_max_entries: members one archive may hold.
        archive_max_bytes: bytes one archive may unpack to.
        archive_max_ratio: unpacked bytes per archive byte.
        inbox_stable_seconds: for how long a dropped product must not change before it is taken.
        inbox_max_orders: how many products one tick of the inbox sensor takes.
        bucket_rules: CSV file of bucket rules; the built-in rule when there is none.
    """

    model_config = SettingsConfigDict(
        env_prefix="CONVERSION_ASSETS_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    home: Path = Field(default_factory=default_home)
    owner: str = "local"
    facility: str = "conversion_assets"
    schemes: Annotated[tuple[str, ...], NoDecode] = ("file", "s3", "https")
    threads: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 8), ge=1)
    memory_limit_bytes: int = Field(default=8 * GIB, gt=0)
    time_limit_seconds: float = Field(default=3600, gt=0)
    archive_max_entries: int = Field(default=100_000, gt=0)
    archive_max_bytes: int = Field(default=64 * GIB, gt=0)
    archive_max_ratio: float = Field(default=200, gt=1)
    inbox_stable_seconds: float = Field(default=10, ge=0)
    inbox_max_orders: int = Field(default=50, ge=1, le=100)
    bucket_rules: Path | None = None

    @field_validator("schemes", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        """Read ``file,s3,https``."""
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def dagster_home(self) -> Path:
        """The instance folder of Dagster: its database, logs and configuration."""
        return self.home / "dagster"
