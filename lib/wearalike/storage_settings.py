"""The settings of a data folder that is an object store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationInfo, field_validator

# Stores that write an object only where none stands, or only over the one that was read.
OBJECT_STORE_PATTERN = re.compile(r"(s3|gs|az)://[^/\s]\S*")


class StorageSettings(BaseModel):
    """The local side of a `data_dir` that is an object store: s3://, gs:// or az://.

    Credentials come from the store's standard chain (environment, role of the machine or pod), and
    never stand in a settings file.

    Attributes:
        url: The address that `data_dir` has. Not a key of the file.
        cache: Folder of this machine that holds what was read and written. It may be empty or lost
            at any time between two stages.
        endpoint: Address of a server of the S3 API that is not Amazon's, or of a server of Azure's
            with the account in its path; None: the standard one.
        retry_s: Seconds that a store which does not answer is asked again, before a stage fails.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str | None = Field(default=None, exclude=True)
    cache: Path = Path("cache")
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/[\w-]*)?$")] | None = None
    retry_s: Annotated[float, Strict(), Field(gt=0, le=3600)] = 60.0

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str | None, info: ValidationInfo) -> str | None:
        url = info.data.get("url")
        if endpoint and url and url.startswith("gs://"):
            raise ValueError(
                f"{endpoint}: of a server of the S3 API or of Azure's, and data_dir is {url}"
            )
        return endpoint

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is not None and not OBJECT_STORE_PATTERN.fullmatch(url):
            raise ValueError(f"wanted a folder, s3://, gs:// or az://, got {url!r}")
        if url is not None and re.search("[@?#]", url):
            raise ValueError(
                "an address of a store has no user, password or token; give credentials by the "
                "environment, or by the role of the machine or pod"
            )
        return url
