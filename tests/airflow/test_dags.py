"""The DAGs parse under a real Airflow, and call stages in a run's order with options those know."""

import base64
import contextlib
import importlib
import itertools
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
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
from aiosmtpd.controller import Controller

from wearalike import sample
from wearalike.airflow import callbacks
from wearalike.commands import app, query_photo
from wearalike.pipeline import quality_options
from wearalike.pipeline.stages import STAGE_NAMES, STAGES
from wearalike.search import photo_query
from wearalike.storage import content_cache, run_tables
from wearalike.tables import (
    IMAGES,
    LOADED_TABLES,
    PRODUCTS,
    PUBLISHED_TABLES,
    RUN_TABLES,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
    TABLES_BY_NAME,
)
from wearalike.warehouse.base import open_warehouse

REPOSITORY = Path(__file__).resolve().parents[2]


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


QUALITY_VALUES = {
    "detector": "whole",
    "encoder": "fashion",
    "looks_detector": "garments",
    "k": 8,
    "min_score": 0.2,
    "max_per_brand": 3,
    "max_brand_share": 1,
    "diversity": 0.2,
    "looks_k": 4,
    "looks_min_score": 0.3,
    "looks_alike_min_score": 0.7,
    "threshold": ["min_products_count=9", "max_churn_ratio=0.7"],
}


def commands(dag, **params):
    """(task_id, job, its arguments) of every task that runs a job,
    templates rendered with an example of a run.
    """
    for task in dag.tasks:
        template = getattr(task, "bash_command", None) or getattr(task, "partial_kwargs", {}).get(
            "bash_command"
        )
        if template and task.task_id not in ("prune_data", "describe_items"):
            text = jinja2.Template(template).render(
                params={**dag.params.dump(), "run": "2026-11-21", **params},
                **(dag.user_defined_macros or {}),
            )
            python, m, module, stage, *arguments = shlex.split(text.replace("$SHARD", "1/2"))
            assert (python, m, module) == (sys.executable, "-m", "wearalike.pipeline")
            yield task.task_id, stage, arguments


@pytest.mark.parametrize("params", [{}, {"force": True, **QUALITY_VALUES}])
def test_every_command_is_one_that_its_job_understands(bag, params):
    found = list(commands(bag.dags["similar_products"], **params))
    assert len(found) == 15
    for task_id, stage, arguments in found:
        module = importlib.import_module(f"wearalike.pipeline.{stage}")
        args = module.command().make_context(stage, arguments).params
        assert args["run"] == "2026-11-21"
        assert task_id == stage + ("_shard" if args.get("shard") else "")
        for option in quality_options.RUN_OPTIONS:
            if option.stage == stage:
                assert args[option.stage_option] == params.get(option.key)
        if stage == "report_quality":
            wanted = (("min_products_count", 9), ("max_churn_ratio", 0.7))
            assert args["threshold"] == (wanted if params else ())


def test_pruning_is_the_last_task_and_knows_its_command(bag):
    dag = bag.dags["similar_products"]
    task = dag.get_task("prune_data")
    assert task.upstream_task_ids == {"publish_tables"} and not task.downstream_task_ids
    python, m, module, command, *arguments = shlex.split(task.bash_command)
    assert (python, m, module) == (sys.executable, "-m", "wearalike")
    context = app.app.make_context("wearalike", [command, *arguments])
    found = app.app.get_command(context, command).make_context(command, arguments).params
    assert found["is_if_set"] and not found["is_dry"]


def test_items_are_described_beside_pruning_where_the_settings_say_so(bag):
    task = bag.dags["similar_products"].get_task("describe_items")
    assert task.upstream_task_ids == {"publish_tables"} and not task.downstream_task_ids
    _, _, _, command, *arguments = shlex.split(re.sub(r"\{\{.*?\}\}", "r1", task.bash_command))
    context = app.app.make_context("wearalike", [command, *arguments])
    found = app.app.get_command(context, command).make_context(command, arguments).params
    assert found["is_if_set"] and found["run_name"] == "r1"


@pytest.mark.parametrize(
    ("run_type", "params", "wanted"),
    [
        ("scheduled", {}, ["--since", "2026-11-22T02:30:00+00:00"]),
        ("scheduled", {"force": True}, ["--force"]),
        ("manual", {}, []),
    ],
)
def test_a_scheduled_run_pulls_what_was_pulled_by_hand_before_it(bag, run_type, params, wanted):
    dag_run = SimpleNamespace(
        run_type=run_type, run_after=datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
    )
    dag = bag.dags["similar_products"]
    template = dag.get_task("ingest_feeds").bash_command
    values = {**dag.params.dump(), "run": "2026-11-22", **params}
    text = jinja2.Template(template).render(params=values, dag_run=dag_run)
    assert shlex.split(text)[6:] == wanted
    ingest_feeds = importlib.import_module("wearalike.pipeline.ingest_feeds")
    ingest_feeds.command().make_context("ingest_feeds", shlex.split(text)[4:])


def test_the_form_takes_values_inside_their_range_alone(bag):
    from airflow.sdk.exceptions import ParamValidationError

    params = bag.dags["similar_products"].params
    for key, good in QUALITY_VALUES.items():
        assert params[key] is None
        assert params.get_param(key).resolve(good) == good
    for key, bad in {"k": 0, "min_score": 1.5, "looks_k": "5", "threshold": ["a b"]}.items():
        with pytest.raises(ParamValidationError):
            params.get_param(key).resolve(bad)


def test_sharded_stages_have_a_task_for_their_shards(bag):
    task_ids = {t.task_id for t in bag.dags["similar_products"].tasks}
    assert {name for name in STAGE_NAMES if f"{name}_shard" in task_ids} == {
        stage.name for stage in STAGES if stage.is_sharded
    }


PARSE = """
import runpy, sys
runpy.run_path(sys.argv[1])
heavy = {"pandas", "duckdb", "pyarrow", "lxml", "numpy", "torch", "faiss", "pyspark"}
print("loaded:", *sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize("path", sorted((REPOSITORY / "dags").glob("*.py")), ids=lambda p: p.stem)
def test_parsing_a_dag_file_loads_no_heavy_library(path, tmp_path):
    """Airflow parses every file every 30 seconds."""
    env = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [sys.executable, "-P", "-c", PARSE, str(path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1:] == ["loaded:"], done.stdout + done.stderr[-2000:]


def test_serializing_the_dag_loads_no_heavy_library(tmp_path):
    """The DAG processor serializes what it has parsed; no column may be read for that."""
    program = (
        "import sys; from airflow.dag_processing.dagbag import DagBag;"
        "from airflow.serialization.serialized_objects import DagSerialization;"
        "data = DagSerialization.to_dict(DagBag(sys.argv[1]).dags['similar_products']);"
        "print('pyarrow' in sys.modules, 'RunTable(tables.offers)' in str(data))"
    )
    env = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [sys.executable, "-P", "-c", program, str(REPOSITORY / "dags")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1:] == ["False True"], done.stdout + done.stderr[-2000:]


def test_only_a_run_without_a_scheduler_has_no_deadline(bag, tmp_path):
    assert bag.dags["similar_products"].deadline
    program = (
        "import sys; from airflow.dag_processing.dagbag import DagBag; "
        "bag = DagBag(sys.argv.pop());"
        "print('deadline', bag.dags['similar_products'].deadline, bag.import_errors)"
    )
    env = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [sys.executable, "-c", program, "dags", "test", REPOSITORY / "dags"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert "deadline None {}" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("variant", "absent"),
    [
        ("weights = '2:8:4'", {"codes_variants", "indexes_variants"}),
        ("encoder = 'fashion'", set()),
        ("[", {t for stage in STAGES for t in stage.experiment_writes}),
    ],
)
def test_the_tables_of_an_experiment_are_named_where_there_is_one(
    bag, tmp_path, monkeypatch, variant, absent
):
    from wearalike.airflow.lineage import stage_lineage

    config = tmp_path / "wearalike.toml"
    config.write_text(f"feed = '${{SECRET}}'\n[experiment.variants.b]\n{variant}\n")
    monkeypatch.setenv("WEARALIKE_CONFIG", str(config))
    wanted = {t.name for t in RUN_TABLES} - absent - {"refused"}
    made = [stage_lineage(stage.name) for stage in STAGES]
    named = [{p.uri for p in one["outlets"] if hasattr(p, "uri")} for one in made]
    assert set().union(*named[:-1]) == {f"wearalike://tables/{name}" for name in wanted}
    published = {t.name for t in LOADED_TABLES} - absent
    assert named[-1] == {f"wearalike://published/{name}" for name in published}


def test_the_photo_form_offers_what_the_job_takes(bag):
    params = bag.dags["photo_query"].params
    options = {option.name: option for option in query_photo.query.params}
    for name in ("gender", "age_group"):
        assert [v for v in params.get_param(name).schema["enum"] if v] == [
            str(v) for v in options[name].type.choices
        ]
    for good in ("0:1", "2:8", "10:10", "2:8:5", "1:1:10"):
        assert re.search(
            params.get_param("weights").schema["pattern"], good
        ) and photo_query.parse_weights(good)
    assert options["k"].default == params["k"]
    schema = params.get_param("photo").schema
    for good in ("/photos/x.jpg", "https://shop.example/x.jpg", "data:image/png;base64,AA=="):
        assert re.search(schema["pattern"], good)
    for bad in ("x.jpg", "-h", "file:///etc/passwd", "data:text/html,x"):
        assert not re.search(schema["pattern"], bad)


def test_the_dag_orders_the_night_as_the_command_line_does(bag):
    dag = bag.dags["similar_products"]
    order = [t.task_id for t in dag.topological_sort() if t.task_id in STAGE_NAMES]
    assert order == list(STAGE_NAMES)
    for before, after in itertools.pairwise(STAGE_NAMES):
        assert after in dag.get_task(before).get_flat_relative_ids(upstream=False)
    pools = {t.task_id: t.pool for t in dag.tasks}
    assert {pools[n] for n in ("ingest_feeds", "download_images", "download_images_shard")} == {
        "network"
    }
    assert {
        pools[n]
        for n in (
            "detect_items",
            "encode_items",
            "encode_items_shard",
            "detect_looks",
            "detect_looks_shard",
        )
    } == {"gpu"}


def test_airflow_is_told_of_every_table_and_calls_somebody(bag, night):
    dag = bag.dags["similar_products"]
    assert [table for stage in STAGES for table in stage.writes] == [
        p.name for p in tables_of(night)
    ]
    written_before = set()
    for stage in STAGES:
        of = {
            kind: [a.uri for a in getattr(dag.get_task(stage.name), kind) if hasattr(a, "uri")]
            for kind in ("inlets", "outlets")
        }
        assert of["inlets"] == [f"wearalike://tables/{t}" for t in stage.reads]
        assert set(stage.reads) <= written_before
        written_before |= set(stage.writes)
    assert of["outlets"] == [f"wearalike://published/{t.name}" for t in PUBLISHED_TABLES]
    of_experiments = {t for stage in STAGES for t in stage.experiment_writes}
    assert {t.name for t in RUN_TABLES} - written_before == of_experiments | {"refused"}
    jobs = [t for t in dag.tasks if t.task_id != "list_shards"]
    assert len(jobs) == 17
    assert all(dag.default_args[f"on_{kind}_callback"] for kind in ("success", "failure"))


def tables_of(night):
    """The folders of the night's tables, in the order in which they were finished."""
    made = [p.parents[1] for p in (night / "root").glob("*/run=day-1/_manifest.json")]
    return sorted(made, key=lambda p: list(TABLES_BY_NAME).index(p.name))


@pytest.mark.parametrize("dag_id", ["similar_products", "train_models"])
def test_unpausing_starts_no_run_of_the_past_and_a_missed_one_is_made_up(bag, dag_id, monkeypatch):
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables import trigger
    from airflow.timetables.base import DagRunInfo
    from pendulum import datetime as make_time

    dag = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags[dag_id]))
    sunday, times = make_time(2026, 11, 22), {"similar_products": (2, 30), "train_models": (12, 0)}
    due = sunday.at(*times[dag_id])

    def next_run(now, last=None):
        monkeypatch.setattr(trigger, "utcnow", lambda: now)
        found = dag.next_dagrun_info(last_automated_run_info=last)
        return found.run_after

    assert next_run(due.subtract(hours=1)) == due
    assert next_run(due.add(minutes=20)) == due
    for later in (due.add(minutes=40), due.add(hours=11)):
        assert next_run(later) > later
    last = DagRunInfo.exact(due.subtract(weeks=3))
    assert next_run(due.add(hours=11), last) == due


@pytest.mark.parametrize("conf", [None, {}, {"run": None}, {"run": "by-hand"}])
def test_a_run_has_one_name_in_commands_and_in_alerts(bag, conf):
    for logical in (datetime(2026, 11, 21, 2, 30, tzinfo=UTC), None):
        dag_run = SimpleNamespace(
            conf=conf, logical_date=logical, run_after=datetime(2026, 11, 22, tzinfo=UTC)
        )
        template = re.search(
            r"--run (\{\{.*?\}\})",
            bag.dags["similar_products"].get_task("map_products").bash_command,
        )[1]
        name = jinja2.Template(template).render(
            dag_run=dag_run, params={"run": (conf or {}).get("run")}
        )
        assert callbacks.run_name(dag_run) == name
        told = {
            "conf": conf,
            "logical_date": logical and logical.isoformat(),
            "run_after": "2026-11-22T00:00:00Z",
        }
        assert callbacks.run_name(told) == name


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(method, url, token=None, body=None):
    request = urllib.request.Request(
        url,
        json.dumps(body).encode() if body is not None else None,
        {"Content-Type": "application/json"},
        method=method,
    )
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


class Mailbox:
    """What a mail server of our own was given."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def wait_for(self, subject):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if found := [m for m in self.mails if m["subject"] == subject]:
                return found[0]
            time.sleep(0.5)
        raise AssertionError(f"no mail {subject!r}; there are {[m['subject'] for m in self.mails]}")


@pytest.fixture
def outside(tmp_path):
    """Whom Airflow tells: a mail server, a StatsD socket, a file of OpenLineage's events,
    and the environment that names them.
    """
    mailbox = Mailbox()
    mail = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    mail.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gauges:
        gauges.bind(("127.0.0.1", 0))
        gauges.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        gauges.settimeout(0.2)
        smtp = {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": mail.port,
            "extra": {"disable_ssl": True, "disable_tls": True},
        }
        alerts = {
            "notifier": "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
            "from_email": "night@shop.example",
            "to": "anna@shop.example",
            "subject": "{{ alert.title }}",
            "html_content": "{{ alert.html }}",
        }
        env = {
            "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(smtp),
            "AIRFLOW_VAR_WEARALIKE_ALERTS": json.dumps(alerts),
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(gauges.getsockname()[1]),
            "AIRFLOW__METRICS__METRICS_ALLOW_LIST": "wearalike",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "file", "log_file_path": str(tmp_path / "events.json"), "append": True}
            ),
        }
        yield SimpleNamespace(
            env=env, mailbox=mailbox, gauges=gauges, events=tmp_path / "events.json"
        )
    mail.stop()


@pytest.fixture
def airflow(tmp_path, outside):
    """Airflow's three servers on the sample shops, no night due for hours, late after five seconds;
    yields (address, admin's token, root).
    """
    from wearalike.commands import run_demo

    port, root = free_port(), tmp_path / "root"
    dags = shutil.copytree(
        REPOSITORY / "dags", tmp_path / "dags", ignore=shutil.ignore_patterns("__pycache__")
    )
    text = (dags / "similar_products.py").read_text()
    half_a_day_off = (datetime.now(UTC).hour + 12) % 24
    for usual, other in (
        ("timedelta(hours=1)", "timedelta(seconds=5)"),
        ('"30 2 * * *"', f'"30 {half_a_day_off} * * *"'),
    ):
        assert text.count(usual) == 1
        text = text.replace(usual, other)
    (dags / "similar_products.py").write_text(text)
    with sample.serve_shops() as address:
        config = tmp_path / "wearalike.toml"
        sample.write_settings(config, address, root, REPOSITORY / "mappings")
        env = run_demo.airflow_environment(tmp_path, config, port) | {
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1"
        }
        env |= outside.env | {"AIRFLOW__CORE__DAGS_FOLDER": str(dags)}
        run = [sys.executable, "-m", "airflow"]
        subprocess.run([*run, "db", "migrate"], env=env, check=True, capture_output=True)
        for pool in ("network", "gpu"):
            subprocess.run(
                [*run, "pools", "set", pool, "2", "test"], env=env, check=True, capture_output=True
            )
        logs = (tmp_path / "servers.log").open("w")
        servers = [
            subprocess.Popen([*run, part], env=env, stdout=logs, stderr=logs)
            for part in ("api-server", "scheduler", "dag-processor")
        ]
        try:
            yield (
                f"http://127.0.0.1:{port}",
                wait_for_token(f"http://127.0.0.1:{port}", tmp_path / "airflow", servers),
                root,
            )
        finally:
            for server in servers:
                server.send_signal(signal.SIGTERM)
            for server in servers:
                server.wait(60)


def wait_for_token(address, home, servers):
    for _ in range(120):
        assert all(s.poll() is None for s in servers), (home.parent / "servers.log").read_text()[
            -3000:
        ]
        try:
            password = json.loads(
                (home / "simple_auth_manager_passwords.json.generated").read_text()
            )["admin"]
            token = ask(
                "POST", f"{address}/auth/token", body={"username": "admin", "password": password}
            )["access_token"]
            ask("PATCH", f"{address}/api/v2/dags/similar_products", token, {"is_paused": False})
            return token
        except (OSError, urllib.error.URLError, ValueError):
            time.sleep(1)
    raise AssertionError(
        "Airflow did not come up: " + (home.parent / "servers.log").read_text()[-3000:]
    )


@pytest.mark.timeout(600)
def test_a_run_triggered_over_rest_publishes(airflow, outside):
    address, token, root = airflow
    runs = f"{address}/api/v2/dags/similar_products/dagRuns"
    run_id = ask(
        "POST", runs, token, {"logical_date": None, "conf": {"run": "by-rest", "shards": 2}}
    )["dag_run_id"]
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
    # Unpaused and triggered: one night, not two.
    assert [run["dag_run_id"] for run in ask("GET", runs, token)["dag_runs"]] == [run_id]
    assert [t["map_index"] for t in tasks if t["task_id"] == "encode_items_shard"] == [0, 1]
    assert run_tables.read_manifest(root, SIMILAR_PRODUCTS, "by-rest")["rows"]["written"] > 1000
    see_what_was_told(outside, root)
    see_similar_products(address, token)
    see_an_alert(address, token, root, run_id, outside.mailbox)
    ask_about_a_photo(address, token, root)


def see_what_was_told(outside, root):
    mail = outside.mailbox.wait_for("wearalike: run by-rest is late")
    text = mail.get_body().get_content()
    assert (
        mail["to"] == "anna@shop.example"
        and "Site:  nothing has been published yet" in text
        and "look at download_images first" in text
    )

    gauges = {}
    with contextlib.suppress(TimeoutError):
        while True:
            name, _, value = outside.gauges.recv(65536).decode().partition(":")
            gauges[name] = value
    for stage in STAGES:
        for table in stage.writes:
            rows = run_tables.read_manifest(root, TABLES_BY_NAME[table], "by-rest")["rows"]
            assert gauges[f"airflow.wearalike.{table}.rows_written"] == f"{rows['written']}|g"
            assert (
                gauges[f"airflow.wearalike.{table}.rows_refused"]
                == f"{sum(rows['refused'].values())}|g"
            )

    events = [json.loads(line) for line in outside.events.read_text().splitlines()]
    done = {e["job"]["name"].partition(".")[2]: e for e in events if e["eventType"] == "COMPLETE"}
    for stage in STAGES:
        made, read = done[stage.name]["outputs"], done[stage.name]["inputs"]
        wanted = [f"tables.{t}" for t in stage.writes] or [
            f"published.{t.name}" for t in PUBLISHED_TABLES
        ]
        assert [d["name"] for d in made] == wanted and {d["namespace"] for d in (*made, *read)} == {
            "wearalike"
        }
        # The gate's assertions about metrics are of the table that it writes.
        judged = ["tables.quality"] if stage.name == "report_quality" else []
        assert [d["name"] for d in read] == [f"tables.{t}" for t in stage.reads] + judged
    columns = done["map_products"]["outputs"][0]["facets"]["schema"]["fields"]
    assert [c["name"] for c in columns] == PRODUCTS.column_names


def see_an_alert(address, token, root, run_id, mailbox):
    """The gate again, over lists that lost a product: it says no, and a mail says why;
    what is published stays.
    """
    lists = run_tables.read_table(root, SIMILAR_LISTS, "by-rest")
    with run_tables.write_table(root, SIMILAR_LISTS, "by-rest", "another", {}) as table:
        table.write(lists.slice(1))
    body = {
        "dry_run": False,
        "dag_run_id": run_id,
        "task_ids": ["report_quality"],
        "only_failed": False,
    }
    ask("POST", f"{address}/api/v2/dags/similar_products/clearTaskInstances", token, body)
    text = (
        mailbox.wait_for("wearalike: report_quality of run by-rest failed").get_body().get_content()
    )
    log = f"dags/similar_products/runs/{urllib.parse.quote(run_id)}/tasks/report_quality"
    why = "the gate is closed, products.expect_column_values_to_be_in_set(has_list): 1 row"
    for wanted in (
        why,
        "Where: run by-rest",
        log,
        "Site:  reads run by-rest, published 20",
        "the site still reads the last good run",
    ):
        assert wanted in text, text


def see_similar_products(address, token):
    """wearalike's own server, mounted in the api-server: for who is logged in,
    with Airflow's token or cookie, and with its place there.
    """
    plugins = ask("GET", f"{address}/api/v2/plugins", token)["plugins"]
    (view,) = next(p for p in plugins if p["name"] == "wearalike")["external_views"]
    assert (view["href"], view["destination"], view["url_route"]) == (
        "/wearalike/",
        "nav",
        "similar-products",
    )
    here = address + view["href"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask("GET", f"{here}v1/products")
    assert (refused.value.code, refused.value.headers["content-type"]) == (
        401,
        "application/problem+json",
    )
    product = ask("GET", f"{here}v1/products?limit=1&super_category=full_body", token)["products"][
        0
    ]
    path = f"{here}v1/products/{urllib.parse.quote(product['product_id'], safe='')}/similar"
    listed, live = ask("GET", path, token), ask("GET", f"{path}?weights=5:5", token)
    assert (
        listed["run"] == live["run"] == "by-rest" and listed["results"] and live["source"] == "live"
    )
    with urllib.request.urlopen(
        urllib.request.Request(f"{here}v1/docs", headers={"Cookie": f"_token={token}"}), timeout=30
    ) as answer:
        assert f"curl {here}v1/products" in answer.read().decode()
        assert (
            answer.headers["cache-control"].startswith("private")
            and "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        )
    assert ask("GET", f"{here}v1/openapi.json", token)["servers"] == [{"url": "/wearalike"}]


def ask_about_a_photo(address, token, root):
    """The form's path would run a command if it were a part of one.
    An upload of the same photo gives the same row.
    """
    ask("PATCH", f"{address}/api/v2/dags/photo_query", token, {"is_paused": False})
    product = next(
        p
        for p in run_tables.read_table(root, PRODUCTS, "by-rest").to_pylist()
        if p["super_category"] == "lower_wear"
    )
    image_id = next(
        i
        for i in run_tables.read_table(root, IMAGES, "by-rest").to_pylist()
        if i["product_id"] == product["product_id"]
    )["image_id"]
    photo = root.parent / "x $(touch ran) ; 'photo.jpg"
    shutil.copyfile(content_cache.image_path(root, image_id), photo)
    runs = f"{address}/api/v2/dags/photo_query/dagRuns"
    conf = {"photo": str(photo), "k": 3, "weights": "2:8", "gender": "female"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask("POST", runs, token, {"logical_date": None, "conf": conf | {"weights": "1:1; rm"}})
    assert refused.value.code == 400
    upload = f"data:image/jpeg;base64,{base64.b64encode(photo.read_bytes()).decode()}"
    for given in (conf, conf | {"photo": upload}):
        run_id = ask("POST", runs, token, {"logical_date": None, "conf": given})["dag_run_id"]
        deadline, state = time.monotonic() + 180, "queued"
        while state in ("queued", "running") and time.monotonic() < deadline:
            time.sleep(1)
            state = ask("GET", f"{runs}/{run_id}", token)["state"]
        assert state == "success" and not list(root.parent.rglob("ran"))
    (row,) = open_warehouse(f"duckdb:{root / 'warehouse'}").query("SELECT * FROM photo_queries")
    assert (row["run"], row["k"], row["weights"], row["gender"], row["photo_id"]) == (
        "by-rest",
        3,
        "2:8",
        "female",
        image_id,
    )
    answer = json.loads((root / "photo_queries" / row["query_id"] / "answer.json").read_text())
    assert answer == json.loads(row["answer"]) and row["items_count"] == len(answer["items"]) >= 1
    assert all(
        len(item["results"]) <= 3 and (item["shape_weight"], item["colour_weight"]) == (2, 8)
        for item in answer["items"]
    )
    assert (root / "photo_queries" / row["query_id"] / "annotated.jpg").read_bytes()[
        :2
    ] == b"\xff\xd8"
