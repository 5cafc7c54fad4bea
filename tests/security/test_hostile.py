"""Hostile feeds, names, addresses and files stay data."""

from __future__ import annotations

import ast
import asyncio
import gzip
import ipaddress
import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.feeds.test_feeds import offer, read_bytes, yml
from tests.imaging import test_download
from tests.imaging.test_download import DAY_1, Server, download, jpeg, prepare, product
from tests.net import test_http_client
from tests.warehouse.test_publish import _place, make
from tests.warehouse.test_warehouse import night

from wearalike import catalog, feeds
from wearalike.net import http_client
from wearalike.search import gallery_store, index
from wearalike.storage import run_tables
from wearalike.tables import IMAGES, INDEXES, PRODUCTS
from wearalike.warehouse import publish
from wearalike.warehouse.base import open_warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
CANARY = "canary-5f1c"
server = test_download.server


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file on this machine that nobody's XML may read."""
    path = tmp_path / "canary.txt"
    path.write_text(CANARY)
    return path


# Ways in which a document may ask for other content.
FORMS = {
    "general": '<!DOCTYPE d [<!ENTITY x SYSTEM "file://{file}">]>{open}&x;{close}',
    "parameter": '<!DOCTYPE d [<!ENTITY % p SYSTEM "file://{file}"> %p;]>{open}{close}',
    "external": '<!DOCTYPE d SYSTEM "file://{file}">{open}&x;{close}',
    "public": '<!DOCTYPE d PUBLIC "x" "file://{file}">{open}&x;{close}',
    "xinclude": '<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="file://{file}" '
    'parse="text"/>',
    "stylesheet": '<?xml-stylesheet href="file://{file}"?>{open}{close}',
    "laughs": '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    + "".join(f'<!ENTITY {chr(99 + n)} "{("&" + chr(98 + n) + ";") * 10}">' for n in range(9))
    + "]>{open}&k;{close}",
    "quadratic": '<!DOCTYPE d [<!ENTITY a "'
    + "a" * 50_000
    + '">]>{open}'
    + "&a;" * 20_000
    + "{close}",
}


@pytest.mark.parametrize("form", FORMS)
def test_no_xml_brings_a_file_of_this_machine_or_grows(
    tmp_path: Path, canary: Path, form: str
) -> None:
    began = time.process_time()
    before, after = yml("\0").replace("\0", offer(name="\0")).split("\0")
    text = (
        FORMS[form]
        .replace("{file}", str(canary))
        .replace("{open}", before)
        .replace("{close}", after)
    )
    text = text if "<offers>" in text else before + text + after
    try:
        _, records = read_bytes(
            tmp_path, text.removeprefix('<?xml version="1.0" encoding="UTF-8"?>').encode()
        )
        assert CANARY not in str(records) and len(str(records)) < 1000
    except feeds.BadFeed as error:
        assert CANARY not in str(error)
    # An operator's file is read by other code, and never with a DOCTYPE.
    path = tmp_path / "mapping.xml"
    path.write_text(
        FORMS[form]
        .replace("{file}", str(canary))
        .replace("{open}", '<mapping shop="mapping">')
        .replace("{close}", "</mapping>")
    )
    taxonomy = catalog.read_taxonomy(REPOSITORY / "mappings" / "taxonomy.xml")
    if form == "stylesheet":
        assert catalog.read_mapping(path, taxonomy).find_line(["1"], ["a"], None, None) is None
    else:
        with pytest.raises(catalog.BadMapping) as bad:
            catalog.read_mapping(path, taxonomy)
        assert CANARY not in str(bad.value) and len(str(bad.value)) < 1000
    assert time.process_time() - began < 5


def test_a_feed_of_bombs_within_good_gzip_keeps_memory_flat(tmp_path: Path) -> None:
    """Three ways to 1 GB from a few hundred KB, each given up early."""
    zeros = gzip.compress(bytes(1 << 24), 9)
    for content in (
        zeros * 64,
        gzip.compress(zeros * 64, 9),
        gzip.compress(yml(offer()).encode()) + zeros * 64,
    ):
        assert len(content) < 1_200_000
        began = time.process_time()
        with pytest.raises(feeds.BadFeed) as bad:
            read_bytes(tmp_path, content)
        assert bad.value.reason in (feeds.FeedReason.TOO_LARGE, feeds.FeedReason.NOT_XML)
        assert time.process_time() - began < 5


def test_categories_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    count = 20_000
    circle = "".join(
        f'<category id="{n}" parentId="{(n + 1) % count}">c</category>' for n in range(count)
    )
    began = time.process_time()
    reader, (found, other) = read_bytes(
        tmp_path,
        yml(
            offer(more="<categoryId>7</categoryId>"),
            offer("2", more="<categoryId>8</categoryId>"),
            categories=circle,
        ).encode(),
    )
    assert (
        reader.warning_counts[feeds.FeedWarning.CATEGORY_CYCLE] == 2
        and found.category_paths
        and other.category_paths
    )
    assert 0 < len(found.category_paths[0]) <= 1_000 and time.process_time() - began < 10


IDS = (
    "../../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "..",
    "run=x",
    "\\\\host\\c$",
    "a\u202eb",
    "%2e%2e%2f",
    "x" * 200,
    "'; DROP TABLE products; --",
)


def test_no_id_becomes_a_path(
    server: Server, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("inputs", len(IDS))
    server.content["/p"] = jpeg(1)
    root = tmp_path / "root"
    root.mkdir()
    prepare(root, [product("s", ident, [server.url("/p")]) for ident in IDS])
    assert download(root, DAY_1, "--placeholder-groups", "99") == 0
    assert run_tables.read_table(root, IMAGES, DAY_1)["product_id"].to_pylist() == sorted(
        f"s:{ident}" for ident in IDS
    )
    table = r"(images|products)/run=2026-11-21/(_manifest\.json|part-00000\.parquet)"
    ours = re.compile(
        rf"root/(wearalike\.toml|\.data\.lock|{table}|cache/downloads/s/([0-9a-f]{{32}}\.parquet|\.compact\.lock)|cache/images/[0-9a-f]{{2}}/[0-9a-f]{{64}})"
    )
    names = [
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    ]
    assert len(names) == 9 and all(ours.fullmatch(name) for name in names), names


def test_ten_thousand_of_everything_in_one_offer(tmp_path: Path) -> None:
    """The number of each kind of value in an offer is bounded."""
    many = "".join(
        f"<categoryId>{n}</categoryId><param name='p{n}'>v</param><param name='color'>c{n}</param>"
        for n in range(10_000)
    )
    rss = "".join(f"<g:product_type>{'x' * 5_000} > y{n}</g:product_type>" for n in range(1_000))
    google = (
        '<rss xmlns:g="http://base.google.com/ns/1.0"><channel><item><g:id>1</g:id>'
        "<title>t</title><g:price>1 USD</g:price>"
        f"<g:image_link>http://a.example/1.jpg</g:image_link>{rss}</item></channel></rss>"
    )
    for text in (yml(offer(more=many)), google):
        _, (found,) = read_bytes(tmp_path, text.encode())
        assert (
            len(found.category_ids) <= 50
            and len(found.category_paths) <= 50
            and len(found.colours) <= 200
        )
        assert len(str(found)) < 100_000


# Addresses


def test_a_name_that_changes_its_mind_is_judged_at_every_hop(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the checked address is the one connected, and a redirect is checked anew."""
    connected: list[str] = []
    answers = iter(["127.0.0.1", "169.254.169.254", "10.0.0.1"])
    given: list[str] = []

    def resolve(host: str, port: int, *args: object, **more: object) -> list[tuple]:
        given.append(next(answers))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (given[-1], port))]

    real = asyncio.SelectorEventLoop.sock_connect

    async def recorded(
        loop: asyncio.SelectorEventLoop, sock: socket.socket, address: tuple
    ) -> None:
        connected.append(address[0])
        await real(loop, sock, address)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", recorded)
    port = server.server_port
    server.pages["/first"] = lambda h, n: h.answer(
        b"", 302, False, Location=f"http://other.example:{port}/second"
    )
    (refused,) = test_http_client.fetch(f"http://shop.example:{port}/first")
    assert (
        isinstance(refused, http_client.FetchError)
        and refused.reason is http_client.FetchReason.PRIVATE_ADDRESS
        and "169.254.169.254" in refused.detail
    )
    assert (
        given == ["127.0.0.1", "169.254.169.254"]
        and connected == ["127.0.0.1"]
        and dict(server.asked) == {"/first": 1}
    )
    assert ipaddress.ip_address(connected[0]).is_loopback


def test_a_certificate_that_nobody_vouches_for_is_refused(server: Server, tmp_path: Path) -> None:
    pair = tmp_path / "pair.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]
    subprocess.run(
        [*made, "-subj", "/CN=127.0.0.1", "-keyout", pair, "-out", tmp_path / "cert.pem"],
        check=True,
        capture_output=True,
    )
    pair.write_text(pair.read_text() + (tmp_path / "cert.pem").read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    plain, server.socket = server.socket, context.wrap_socket(server.socket, server_side=True)
    shop = feeds_shop(server.url("/s").replace("http:", "https:"))
    (tmp_path / "scratch").mkdir()
    row = feeds.ingest_shop(shop, "r1", tmp_path / "scratch", None).feed_row
    assert (row["status"], row["reason"]) == ("missing", "not_fetched") and row[
        "detail"
    ].startswith("tls: ")
    assert plain is not server.socket and not server.asked


def feeds_shop(address: str):
    from wearalike.settings import ShopSettings

    return ShopSettings(id="s", feed=address, allowed_networks=("127.0.0.1/32",))


# Files


def test_only_what_a_manifest_names_is_read(tmp_path: Path) -> None:
    place = _place(tmp_path, f"duckdb:{tmp_path / 'warehouse'}")
    make(place.data_dir, "r1", night("r1"))
    folder = run_tables.table_dir(place.data_dir, PRODUCTS, "r1")
    pq.write_table(night("x", 9)["products"], folder / "part-00007.parquet")
    assert run_tables.read_table(place.data_dir, PRODUCTS, "r1").equals(night("r1")["products"])
    # Rows changed under a manifest's hash are not published, though they are as many.
    pq.write_table(night("other")["products"], folder / "part-00000.parquet")
    with pytest.raises(
        run_tables.CorruptTable,
        match=r"part-00000\.parquet: sha256 .*, _manifest\.json says .*--force",
    ):
        publish.publish_run(place.data_dir, "r1", open_warehouse(place.warehouse))
    assert open_warehouse(place.warehouse).state().loads == ()


def test_an_index_that_its_manifest_does_not_name_is_not_given_to_faiss(tmp_path: Path) -> None:
    with run_tables.write_table(tmp_path, INDEXES, "r1", "s") as table:
        index.write_index(table.path / "bags.faiss", np.arange(3), np.zeros((3, 32), np.uint8))
    path = run_tables.table_dir(tmp_path, INDEXES, "r1") / "bags.faiss"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(index.BadIndex, match=r"not the file that _manifest\.json names"):
        gallery_store.load_gallery(tmp_path, "r1", "bags")
    assert json.loads((path.parent / "_manifest.json").read_text())["files"][
        "bags.faiss"
    ] != run_tables.sha256(path)


LOADERS = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle", "jsonpickle"}


def test_nothing_is_unpickled() -> None:
    """torch.load reads only tensors, np.load no objects, and pickle modules lend only errors."""
    sources = [
        path
        for folder in ("lib", "jobs", "dags")
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
    ]
    loads = []
    assert len(sources) > 100
    for path in sources:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in LOADERS, path
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in LOADERS
            ):
                assert node.attr == "UnpicklingError", f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "torch.load",
                "np.load",
                "numpy.load",
                "torch.hub.load",
            ):
                loads.append(ast.unparse(node.func))
                told = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert told.get("weights_only") == "True" or told.get("allow_pickle") == "False", (
                    f"{path}:{node.lineno}"
                )
    assert len(loads) >= 4


def test_airflow_is_passed_names_and_no_data_or_secrets() -> None:
    """XCom holds only names, and Airflow's list of classes to deserialise is unchanged."""
    for path in sorted((REPOSITORY / "dags").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not any(
            word in text
            for word in ("pickl", "Variable.get", "get_connection", "password", "xcom_pull")
        ), path
    settings = [
        path
        for path in (REPOSITORY / "lib/wearalike/ops/deployment").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    assert settings and not any(
        "allowed_deserialization_classes" in path.read_text(errors="replace") for path in settings
    )
