"""Read and write the objects of a bucket: whole, and only where the caller's version stands.

A PUT of an object store shows the old object or the new one, never a part. `create` and `replace`
send the condition with the PUT (`If-None-Match: *`, `If-Match`), so of two writers one wins.
The text of an error names the bucket and the fault. It leaves out the server's words, since some
servers repeat the access key in them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from wearalike.operator_error import OperatorError
from wearalike.storage.checked_files import run_each

_MAX_RETRIES = 10


class StoreFault(OperatorError):
    """The object store refused a request, or does not answer."""


class StoreAway(StoreFault):
    """The object store does not answer; the same may work later."""


class VersionConflict(Exception):
    """Another writer's object stands under the key."""


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """The things that tell an object from any that replaces it.

    Attributes:
        e_tag: Its entity tag.
        generation: Its number, at stores that have one.
    """

    e_tag: str | None
    generation: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """An object as a listing shows it.

    Attributes:
        key: Its key.
        version: Its version.
        bytes: Its size.
        modified_at: When it was written.
    """

    key: str
    version: ObjectVersion
    bytes: int
    modified_at: datetime


class ObjectStore:
    """One bucket, below a prefix."""

    def __init__(self, url: str, endpoint: str | None = None, retry_s: float = 60.0) -> None:
        """Open it; nothing is sent yet.

        Args:
            url: s3://bucket/prefix, gs://bucket/prefix or az://account/container/prefix.
            endpoint: Address of a server of the S3 API, or of one of Azure's that is not
                <account>.blob.core.windows.net; None for the standard one.
            retry_s: Seconds that a failed request is sent again.

        Raises:
            MissingExtra: obstore is not installed.
            StoreFault: The address cannot be used.
        """
        from obstore import exceptions, store

        self.url = url
        self._errors = exceptions
        config: dict[str, Any] = {}
        if not url.startswith("gs://") and endpoint:
            config = {"endpoint": endpoint}
        opened = url
        if url.startswith("az://"):
            # obstore takes the first part of such an address for the container.
            config["account_name"], _, path = url.removeprefix("az://").partition("/")
            opened = f"az://{path}"
        is_plain = bool(endpoint and endpoint.startswith("http://"))
        client: dict[str, Any] = {"timeout": "120s", "connect_timeout": "10s"}
        client |= {"allow_http": True} if is_plain else {}
        retries: Any = {"max_retries": _MAX_RETRIES, "retry_timeout": timedelta(seconds=retry_s)}
        with self._explain("open"):
            open_url: Any = store.from_url
            self._store: Any = open_url(
                opened, config=config, client_options=client, retry_config=retries
            )

    def read(self, key: str) -> tuple[bytes, ObjectFacts] | None:
        """Return an object's bytes and facts; None if there is none."""
        import obstore

        with self._explain(key):
            try:
                answer = obstore.get(self._store, key)
                return bytes(answer.bytes()), _facts(answer.meta)
            except self._missing:
                return None

    def download(self, key: str, path: Path) -> bool:
        """Write an object into a file; leave it empty and return False if there is none."""
        import obstore

        with path.open("wb") as file, self._explain(key):
            try:
                answer = obstore.get(self._store, key)
            except self._missing:
                return False
            for chunk in answer.stream(min_chunk_size=1 << 20):
                file.write(chunk)
        return True

    def read_ranges(
        self, key: str, starts: Sequence[int], sizes: Sequence[int]
    ) -> list[bytes] | None:
        """Return parts of an object, None without one. Neighbours are read by one request.

        Args:
            key: The key.
            starts: The first byte of each part.
            sizes: Bytes of each part.
        """
        import obstore

        with self._explain(key):
            try:
                parts = obstore.get_ranges(self._store, key, starts=starts, lengths=sizes)
            except self._missing:
                return None
            return [bytes(part) for part in parts]

    def write(self, key: str, content: bytes | Path) -> ObjectVersion:
        """Write an object, over one that is there."""
        return self._put(key, content, "overwrite")

    def create(self, key: str, content: bytes) -> ObjectVersion:
        """Write an object where none stands.

        Raises:
            VersionConflict: One stands there.
        """
        return self._put(key, content, "create")

    def replace(self, key: str, content: bytes, former: ObjectVersion) -> ObjectVersion:
        """Write an object over the version that the caller has read.

        Raises:
            VersionConflict: Another version stands there, or none.
        """
        named = {"e_tag": former.e_tag, "version": former.generation}
        return self._put(key, content, {name: tag for name, tag in named.items() if tag})

    def list(self, prefix: str) -> list[ObjectFacts]:
        """Return the objects whose keys begin with a prefix that ends in "/", by key."""
        import obstore

        with self._explain(prefix):
            found = [_facts(meta) for page in obstore.list(self._store, prefix) for meta in page]
        return sorted(found, key=lambda facts: facts.key)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, in any order; those that are gone already are left out."""
        import obstore

        def delete_one(key: str) -> None:
            with self._explain(key), contextlib.suppress(*self._missing):
                obstore.delete(self._store, key)

        run_each(delete_one, keys)

    def _put(self, key: str, content: bytes | Path | BinaryIO, mode: Any) -> ObjectVersion:
        import obstore

        conflicts = (self._errors.AlreadyExistsError, self._errors.PreconditionError)
        with contextlib.ExitStack() as stack:
            if isinstance(content, Path):  # a fault of this disk is none of the store's
                content = stack.enter_context(content.open("rb"))
            stack.enter_context(self._explain(key))
            try:
                # A condition belongs to one request; files of tables may come in several.
                parts = None if mode == "overwrite" else False
                done = obstore.put(self._store, key, content, mode=mode, use_multipart=parts)
            except conflicts:
                raise VersionConflict(key) from None
            except self._missing:
                if isinstance(mode, dict):
                    raise VersionConflict(key) from None
                raise
        return ObjectVersion(done.get("e_tag"), done.get("version"))

    @property
    def _missing(self) -> tuple[type[Exception], ...]:
        return (FileNotFoundError, self._errors.NotFoundError)

    @contextlib.contextmanager
    def _explain(self, what: str) -> Iterator[None]:
        """Turn the library's errors of the block into one sentence without what a server said."""
        try:
            yield
        except FileNotFoundError:
            raise StoreFault(f"{self.url}: no such bucket or container, asked for {what}") from None
        except (self._errors.BaseError, NotImplementedError, ValueError) as error:
            raise self._describe(error, what) from None

    def _describe(self, error: Exception, what: str) -> StoreFault:
        text = str(error)
        found = re.search(r"<Code>(\w{1,64})</Code>", text)
        code = f" ({found[1]})" if found else ""
        if "NoSuchBucket" in text or isinstance(error, self._errors.NotFoundError):
            return StoreFault(
                f"{self.url}: no such bucket or container; create it, or mend data_dir"
            )
        denied = (self._errors.PermissionDeniedError, self._errors.UnauthenticatedError)
        if isinstance(error, denied) or re.search(r"\b40[13] (Forbidden|Unauthorized)", text):
            return StoreFault(
                f"{self.url}: access denied{code}, asked for {what}; the role or the credentials "
                "of the environment need reading, writing, listing and deleting there"
            )
        if re.search(r"[Cc]redential|instance metadata|169\.254|metadata\.google", text):
            return StoreFault(
                f"{self.url}: no credentials found; give them by the environment, or by the role "
                "of the machine or pod"
            )
        if isinstance(error, self._errors.NotSupportedError | NotImplementedError):
            return StoreFault(f"{self.url}: this store has no conditional writes")
        if found and not re.search(r"\b5\d\d\b", text):
            return StoreFault(f"{self.url}: the store refused {what}{code}")
        return StoreAway(
            f"{self.url}: the store does not answer, asked for {what}{code}; try again"
        )


def _facts(meta: Any) -> ObjectFacts:
    e_tag = meta.get("e_tag")
    # Listings of Azure lack the quotes that its other answers have.
    if e_tag and not e_tag.endswith('"'):
        e_tag = f'"{e_tag}"'
    version = ObjectVersion(e_tag, meta.get("version"))
    return ObjectFacts(meta["path"], version, meta["size"], meta["last_modified"])
