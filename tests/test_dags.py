"""The DAGs parse, call jobs with options those jobs know, in the order of the night, and run under a real Airflow."""

import importlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from wearalike_jobs import query_photo

from wearalike import cli, photos, sample, store
from wearalike.tables import IMAGES, PRODUCTS, SIMILAR_PRODUCTS
from wearalike.warehouse import open_warehouse

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    os.environ["AIRFLOW_HOME"] = str(tmp_path_factory.mktemp("airflow"))
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(REPOSITORY / "dags")


def test_every_dag_file_parses_and_explains_itself(bag):
    assert bag.import_errors == {}
    assert sorted(bag.dags) == sorted(p.stem for p in (REPOSITORY / "dags").glob("*.py"))
    for dag in bag.dags.values():
        assert "**Normal.**" in dag.doc_md and dag.default_args["retries"] >= 1


def commands(dag):
    """(task_id, job, its arguments) of every task that runs a job, templates filled in with an example."""
    for task in dag.tasks:
        template = getattr(task, "bash_command", None) or getattr(task, "partial_kwargs", {}).get("bash_command")
        if template:
            text = re.sub(r"\{\{ '(--\w+)' if .*?\}\}", r"\1", template)
            text = re.sub(r"\{\{.*?\}\}", "2026-11-21", text).replace("$CHUNK", "1/2")
            python, m, module, *arguments = shlex.split(text)
            assert (python, m) == (sys.executable, "-m")
            yield task.task_id, module, arguments


def test_every_command_is_one_that_its_job_understands(bag):
    found = list(commands(bag.dags["similar_products"]))
    assert len(found) == 12
    for task_id, module, arguments in found:
        args = importlib.import_module(module).parser().parse_args(arguments)
        assert args.run == "2026-11-21"
        assert task_id == module.removeprefix("wearalike_jobs.") + ("_chunk" if getattr(args, "chunk", None) else "")


def test_the_photo_form_offers_what_the_job_takes(bag):
    params = bag.dags["photo_query"].params
    options = {a.dest: a for a in query_photo.parser()._actions}
    for name in ("gender", "age_group"):
        assert [v for v in params.get_param(name).schema["enum"] if v] == [str(v) for v in options[name].choices]
    for good in ("0:1", "2:8", "10:10"):
        assert re.search(params.get_param("weights").schema["pattern"], good) and photos.weights(good)
    assert options["k"].default == params["k"]


def test_the_dag_orders_the_night_as_the_command_line_does(bag):
    dag = bag.dags["similar_products"]
    order = [t.task_id for t in dag.topological_sort() if t.task_id in cli.NIGHT]
    assert order == list(cli.NIGHT)
    for before, after in zip(cli.NIGHT, cli.NIGHT[1:], strict=False):
        assert after in dag.get_task(before).get_flat_relative_ids(upstream=False)
    pools = {t.task_id: t.pool for t in dag.tasks}
    assert {pools[n] for n in ("ingest_feeds", "download_images", "download_images_chunk")} == {"network"}
    assert {pools[n] for n in ("detect_items", "encode_items", "encode_items_chunk", "detect_looks", "detect_looks_chunk")} == {"gpu"}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(method, url, token=None, body=None):
    request = urllib.request.Request(
        url, json.dumps(body).encode() if body is not None else None, {"Content-Type": "application/json"}, method=method
    )
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture
def airflow(tmp_path):
    """Airflow's three servers on the sample shops; yields (address, admin's token, root)."""
    from wearalike_jobs import run_demo

    port, root = free_port(), tmp_path / "root"
    with sample.serve() as address:
        config = tmp_path / "wearalike.toml"
        sample.write_settings(config, address, root, REPOSITORY / "mappings")
        env = run_demo.environment(tmp_path, config, port) | {"AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1"}
        run = [sys.executable, "-m", "airflow"]
        subprocess.run([*run, "db", "migrate"], env=env, check=True, capture_output=True)
        for pool in ("network", "gpu"):
            subprocess.run([*run, "pools", "set", pool, "2", "test"], env=env, check=True, capture_output=True)
        logs = (tmp_path / "servers.log").open("w")
        servers = [
            subprocess.Popen([*run, part], env=env, stdout=logs, stderr=logs) for part in ("api-server", "scheduler", "dag-processor")
        ]
        try:
            yield f"http://127.0.0.1:{port}", wait_for_token(f"http://127.0.0.1:{port}", tmp_path / "airflow", servers), root
        finally:
            for server in servers:
                server.send_signal(signal.SIGTERM)
            for server in servers:
                server.wait(60)


def wait_for_token(address, home, servers):
    for _ in range(120):
        assert all(s.poll() is None for s in servers), (home.parent / "servers.log").read_text()[-3000:]
        try:
            password = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text())["admin"]
            token = ask("POST", f"{address}/auth/token", body={"username": "admin", "password": password})["access_token"]
            ask("PATCH", f"{address}/api/v2/dags/similar_products", token, {"is_paused": False})
            return token
        except (OSError, urllib.error.URLError, ValueError):
            time.sleep(1)
    raise AssertionError("Airflow did not come up: " + (home.parent / "servers.log").read_text()[-3000:])


@pytest.mark.timeout(600)
def test_a_run_triggered_over_rest_publishes(airflow):
    address, token, root = airflow
    runs = f"{address}/api/v2/dags/similar_products/dagRuns"
    run_id = ask("POST", runs, token, {"logical_date": None, "conf": {"run": "by-rest", "chunks": 2}})["dag_run_id"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask("POST", runs, token, {"logical_date": None, "conf": {"run": "../escape; rm"}})
    assert refused.value.code == 400
    state = "queued"
    deadline = time.monotonic() + 420
    while state in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(2)
        state = ask("GET", f"{runs}/{run_id}", token)["state"]
    tasks = ask("GET", f"{runs}/{run_id}/taskInstances", token)["task_instances"]
    assert state == "success", [(t["task_id"], t["state"]) for t in tasks]
    assert [t["map_index"] for t in tasks if t["task_id"] == "encode_items_chunk"] == [0, 1]
    assert store.made(root, SIMILAR_PRODUCTS, "by-rest")["rows"]["written"] > 1000
    ask_about_a_photo(address, token, root)


def ask_about_a_photo(address, token, root):
    """The form's path goes to the shell as it is: here it would run a command if it were a part of one."""
    ask("PATCH", f"{address}/api/v2/dags/photo_query", token, {"is_paused": False})
    product = next(p for p in store.read(root, PRODUCTS, "by-rest").to_pylist() if p["super_category"] == "lower_wear")
    image_id = next(i for i in store.read(root, IMAGES, "by-rest").to_pylist() if i["product_id"] == product["product_id"])["image_id"]
    photo = root.parent / "x $(touch ran) ; 'photo.jpg"
    shutil.copyfile(store.image_path(root, image_id), photo)
    runs = f"{address}/api/v2/dags/photo_query/dagRuns"
    conf = {"photo": str(photo), "k": 3, "weights": "2:8", "gender": "female"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask("POST", runs, token, {"logical_date": None, "conf": conf | {"weights": "1:1; rm"}})
    assert refused.value.code == 400
    run_id = ask("POST", runs, token, {"logical_date": None, "conf": conf})["dag_run_id"]
    deadline, state = time.monotonic() + 180, "queued"
    while state in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(1)
        state = ask("GET", f"{runs}/{run_id}", token)["state"]
    assert state == "success" and not list(root.parent.rglob("ran"))
    (row,) = open_warehouse(f"duckdb:{root / 'warehouse'}").ask("SELECT * FROM photo_queries")
    assert (row["run"], row["k"], row["weights"], row["gender"], row["photo_id"]) == ("by-rest", 3, "2:8", "female", image_id)
    answer = json.loads((root / "photo_queries" / row["query_id"] / "answer.json").read_text())
    assert answer == json.loads(row["answer"]) and row["items_count"] == len(answer["items"]) >= 1
    assert all(len(item["results"]) <= 3 and (item["w_shape"], item["w_colour"]) == (2, 8) for item in answer["items"])
    assert (root / "photo_queries" / row["query_id"] / "annotated.jpg").read_bytes()[:2] == b"\xff\xd8"
