"""Who may judge: browsers of this host, and servers whose role may write."""

import http.client
import re
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.http_server import serve_site, site_client
from tests.support.postgres_server import create_database, start_server
from tests.warehouse.test_warehouse import load, night

from wearalike.quality import judgements
from wearalike.server import app
from wearalike.settings import BadSettings, ServerSettings, Settings, read_settings
from wearalike.tables import JUDGEMENTS
from wearalike.warehouse.base import open_warehouse
from wearalike.warehouse.duckdb.recorded import recorded_schema

REPOSITORY = Path(__file__).resolve().parents[2]
ROW = {
    "similar_product_id": "moda:2",
    "verdict": "alike",
    "category": "women.dresses.midi",
    "rank": 1,
    "score": 0.5,
    "judged_at": "2026-11-21T00:00:00.000000Z",
}


@pytest.fixture(scope="module")
def shop():
    """A database with the roles of a deployment, and one published run."""
    with start_server() as address:
        database = create_database(address, "shop")
        with psycopg.connect(database, autocommit=True) as con:
            con.execute((REPOSITORY / "sql" / "postgres_roles.sql").read_text(encoding="utf-8"))
        roles = {
            role: re.sub(r"//\w+@", f"//wearalike_{role}@", database)
            for role in ("loader", "reader")
        }
        warehouse = open_warehouse(roles["loader"])
        load(warehouse, "r1", night("r1"))
        warehouse.publish("r1")
        yield roles


def ask(address: str, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
    parts = urlsplit(address)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)) as connection:
        named = {"Origin": f"http://{headers.get('Host', parts.netloc)}", **headers}
        if body:
            named["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body or None, named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def form(address: str) -> str:
    pair = judgements.sample_pairs(open_warehouse(address), "r1")[0]
    return urlencode(
        {
            "judge": "anna",
            "run": "r1",
            "product": pair.product_id,
            "similar": pair.similar_product_id,
            "verdict": "alike",
        }
    )


def test_a_reader_s_server_says_before_the_click_that_nobody_can_judge(shop, tmp_path):
    verdict = form(shop["loader"])
    for role in ("reader", "loader"):
        config = tmp_path / f"{role}.toml"
        config.write_text(f'data_dir = "data"\nwarehouse = "{shop[role]}"\n', encoding="utf-8")
        with serve_site(config) as (address, _):
            for method, body in (("GET", ""), ("POST", verdict)):
                status, text = ask(address, method, "/judge?judge=anna", body)
                if role == "loader":
                    assert status in (200, 303)
                    continue
                assert status == 403 and "this server may only read the warehouse" in text
                assert "PostgreSQL" not in text and "127.0.0.1" not in text
            assert ask(address, "GET", "/judge/results")[0] == 200
    assert len(judgements.read_judgements(open_warehouse(shop["loader"]))) == 1


def test_a_foreign_host_may_neither_judge_nor_read(shop, tmp_path):
    """As of a page whose name was led here after it was loaded (DNS rebinding)."""
    config = tmp_path / "wearalike.toml"
    config.write_text(
        f'data_dir = "data"\nwarehouse = "{shop["loader"]}"\n'
        '[serve]\nallowed_hosts = ["Similar.shop.example"]\n',
        encoding="utf-8",
    )
    with serve_site(config) as (address, _):
        port = urlsplit(address).port
        foreign = f"elsewhere.example:{port}"
        for method, body in (("GET", ""), ("POST", form(shop["loader"]))):
            status, text = ask(address, method, "/judge", body, Host=foreign)
            assert status == 421 and "allowed_hosts" in text
        for host in ("similar.shop.example", f"localhost:{port}", f"[::1]:{port}", "10.1.2.3"):
            assert ask(address, "GET", "/judge", Host=host)[0] == 200, host


def test_clients_behind_a_trusted_proxy_are_told_apart(tmp_path):
    """Each has its own limit; nobody else's word about the client is taken."""
    settings = Settings(
        data_dir=tmp_path,
        serve=ServerSettings(requests_a_minute=2, trusted_proxies=("172.30.86.1",)),
    )
    path = "/v1/openapi.json"
    with site_client(app.create_app(settings), client=("172.30.86.1", 1)) as proxy:
        for client in ("192.0.2.1", "192.0.2.2"):
            named = {"X-Forwarded-For": f"198.51.100.9, {client}"}
            statuses = [proxy.get(path, headers=named).status_code for _ in range(3)]
            assert statuses == [200, 200, 429], client
    with site_client(app.create_app(settings), client=("192.0.2.7", 1)) as other:
        statuses = [
            other.get(path, headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code
            for n in range(3)
        ]
        assert statuses == [200, 200, 429]


def test_hosts_and_proxies_come_from_the_file_or_the_environment(tmp_path):
    config = tmp_path / "wearalike.toml"
    config.write_text(
        'data_dir = "data"\n[serve]\ntrusted_proxies = ["10.0.0.0/8"]\n', encoding="utf-8"
    )
    assert read_settings(config, {}).serve.trusted_proxies == ("10.0.0.0/8",)
    env = {
        "WEARALIKE_SERVE_TRUSTED_PROXIES": "172.30.86.1",
        "WEARALIKE_SERVE_ALLOWED_HOSTS": "a.example, b.example",
    }
    served = read_settings(config, env).serve
    assert served.trusted_proxies == ("172.30.86.1",)
    assert served.allowed_hosts == ("a.example", "b.example")
    config.write_text('data_dir = "data"\n[serve]\ntrusted_proxies = ["proxy"]\n', encoding="utf-8")
    with pytest.raises(BadSettings, match="trusted_proxies"):
        read_settings(config, {})


def test_ten_thousand_judgements_are_read_at_once(tmp_path):
    warehouse = open_warehouse(f"duckdb:{tmp_path / 'warehouse'}")
    rows = [{**ROW, "judge": "anna", "product_id": f"moda:{n}"} for n in range(10_000)]
    warehouse.record("r1", JUDGEMENTS, rows)
    began = time.process_time()
    assert len(judgements.read_judgements(warehouse)) == 10_000
    assert time.process_time() - began < 3
    files = [path for path in (tmp_path / "warehouse").rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["judgements.sqlite"]


def test_judgements_of_an_earlier_version_are_read_and_moved(tmp_path):
    """It wrote a Parquet file for each, named by its key."""
    folder = tmp_path / "warehouse" / "recorded" / "judgements"
    folder.mkdir(parents=True)
    for n in range(20):
        row = {"run": "r0", **ROW, "judge": "anna", "product_id": f"moda:{n}"}
        table = pa.Table.from_pylist([row], recorded_schema(JUDGEMENTS))
        pq.write_table(table, folder / f"{n:032x}.parquet")
    warehouse = open_warehouse(f"duckdb:{tmp_path / 'warehouse'}")
    assert len(judgements.read_judgements(warehouse)) == 20
    changed = {**ROW, "judge": "anna", "product_id": "moda:3", "verdict": "unsure"}
    warehouse.record("r0", JUDGEMENTS, [changed])
    found = {j.product_id: j.verdict for j in judgements.read_judgements(warehouse)}
    assert len(found) == 20 and found["moda:3"] == "unsure" and found["moda:4"] == "alike"
    assert list(folder.iterdir()) == []
