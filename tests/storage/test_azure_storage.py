"""The data folder in Azure Blob Storage, as Azurite emulates it: Microsoft's own emulator.

It comes by npm, so the tests run where it is on the path: `npm install -g azurite`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from wearalike.storage import mirror, run_tables
from wearalike.storage.object_store import ObjectStore, StoreFault, VersionConflict
from wearalike.storage_settings import StorageSettings
from wearalike.tables import FEEDS

AZURITE = shutil.which("azurite-blob")
# Of the emulator, the same everywhere.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "wearalike"
RUN = "2026-11-21"

pytestmark = pytest.mark.skipif(AZURITE is None, reason="no azurite-blob: npm install -g azurite")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server with one container; its key is in the environment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    options += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    folder = tmp_path_factory.mktemp("azurite")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([AZURITE, *options], cwd=folder, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}/{ACCOUNT}"
        until = time.monotonic() + 60
        while True:
            try:
                create_container(address)
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
            yield address
    finally:
        process.terminate()
        process.wait(30)


def create_container(address: str) -> None:
    """Create the container, with a request signed by the account's key."""
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": date, "x-ms-version": "2021-12-02"}
    lines = [f"{name}:{value}" for name, value in headers.items()]
    resource = f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    text = "\n".join(["PUT", *[""] * 11, *lines, resource])
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    request = urllib.request.Request(
        f"{address}/{CONTAINER}?restype=container", method="PUT", headers=headers
    )
    urllib.request.urlopen(request, timeout=10).close()


def test_azure_writes_on_a_condition_and_lists_what_it_wrote(endpoint: str) -> None:
    store = ObjectStore(f"az://{ACCOUNT}/{CONTAINER}/one", endpoint, 1.0)
    first = store.create("manifests/a.json", b"1")
    with pytest.raises(VersionConflict):
        store.create("manifests/a.json", b"2")
    content, facts = store.read("manifests/a.json") or (b"", None)
    assert content == b"1" and facts and facts.version == first
    assert store.list("manifests/") == [facts]
    second = store.replace("manifests/a.json", b"3", first)
    with pytest.raises(VersionConflict):
        store.replace("manifests/a.json", b"4", first)
    (listed,) = store.list("manifests/")
    assert listed.version == second != first
    store.delete(["manifests/a.json", "manifests/none.json"])
    assert store.read("manifests/a.json") is None and store.list("manifests/") == []
    with pytest.raises(StoreFault, match="no such bucket or container"):
        ObjectStore(f"az://{ACCOUNT}/none/one", endpoint, 1.0).write("a", b"1")


def test_two_machines_share_a_table_on_azure(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = StorageSettings(url=f"az://{ACCOUNT}/{CONTAINER}/two", endpoint=endpoint, retry_s=1.0)
    for name in ("one", "other"):
        mirror.open_cache(tmp_path / name, place)
    with run_tables.write_table(tmp_path / "one", FEEDS, RUN, "s") as writer:
        writer.write(FEEDS.arrow_schema.empty_table())
    other = mirror.find_mirror(tmp_path / "other")
    assert other
    assert not run_tables.is_complete(tmp_path / "other", FEEDS, RUN)
    other.refresh()
    run_tables.check_files(tmp_path / "other", FEEDS, RUN)
    # A manifest that is known is not read again.
    read = []
    monkeypatch.setattr(other.store, "read", lambda key: read.append(key))
    other.refresh()
    assert not [key for key in read if key.startswith("manifests/")]
