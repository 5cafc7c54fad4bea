"""Check the object store of a deployment, for the doctor."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from wearalike import extras
from wearalike.ops.check_result import CheckResult, Environment, failed_result, ok_result
from wearalike.storage import mirror
from wearalike.storage.object_store import (
    ObjectStore,
    ObjectVersion,
    StoreFault,
    VersionConflict,
)


def check_object_store(environment: Environment) -> Iterator[CheckResult]:
    """Check the object store of the data: bucket, credentials, and writes on a condition."""
    settings = environment.settings
    if settings.storage.url is None:
        return
    advice = "mend data_dir, the credentials of the environment or the rights of the role"
    key = f"doctor/{uuid.uuid4().hex}"
    try:
        with extras.explain_missing():
            storage = settings.storage
            store = ObjectStore(settings.storage.url, storage.endpoint, storage.retry_s)
        store.list("manifests/")
        version = store.create(key, b"1")
        is_kept = _keeps_conditions(store, key, version)
        store.delete([key])
        if is_kept:  # the checks that follow look at models and pictures
            mirror.open_cache(settings.data_dir, storage)
    except VersionConflict:
        yield failed_result(
            "object store",
            f"{settings.storage.url}: it refuses to write where no other writer has written",
            "use a store that honours If-None-Match and If-Match of a PUT by the entity tag of "
            "the object",
        )
        return
    except (StoreFault, mirror.CacheTaken, extras.MissingExtra) as error:
        yield failed_result("object store", str(error), advice)
        return
    if not is_kept:
        yield failed_result(
            "object store",
            f"{store.url}: it writes over an object although the request forbids it",
            "use a store that honours If-None-Match and If-Match of a PUT: without them two "
            "writers may each believe to have won",
        )
        return
    yield ok_result("object store", f"{store.url}: read, written on condition, and deleted")


def _keeps_conditions(store: ObjectStore, key: str, version: ObjectVersion) -> bool:
    """Return True if the store refuses to write over an object, or over a newer version."""
    try:
        store.create(key, b"2")
        return False
    except VersionConflict:
        store.replace(key, b"3", version)
    try:
        store.replace(key, b"4", version)
        return False
    except VersionConflict:
        return True
