"""`wearalike demo`: the real DAG through Airflow, on drawn sample shops or on shops of your own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from wearalike import sample, settings
from wearalike.commands import child_session
from wearalike.commands.groups import command
from wearalike.commands.options import PATH, PORT
from wearalike.pipeline import job
from wearalike.pipeline.stage_command import run_option_attributes
from wearalike.reports import contact_sheet
from wearalike.warehouse import publish

REPOSITORY_DIR = Path(__file__).resolve().parents[3]
DEFAULT_PORT = 8080
# Those that describe the sample shops in some seconds.
COMPARED_ENCODERS = ("hsv", "contour", "corners", "phash")
# The pools that the DAGs name: slots and meaning.
AIRFLOW_POOLS = {"network": (2, "downloads"), "gpu": (1, "models")}


@command("demo")
@click.option(
    "--shops",
    metavar="ADDRESS|FILE",
    help="Page that lists feeds as JSON, or a settings file; default: the drawn sample shops.",
)
@click.option("--run", "run_name", **run_option_attributes())
@click.option(
    "--folder",
    type=PATH,
    default=Path("build/demo"),
    show_default=True,
    metavar="DIR",
    help="Folder of everything that is written.",
)
@click.option("--serve", is_flag=True, help="Start Airflow standalone, in place of one run.")
@click.option(
    "--port",
    type=PORT,
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of Airflow's pages, with --serve.",
)
def demo(shops: str | None, run_name: str, folder: Path, serve: bool, port: int) -> None:
    """Run the real DAG through Airflow, on sample shops that the code draws.

    \b
    $ wearalike demo                                     the drawn sample shops
    $ wearalike demo --shops http://127.0.0.1:8765/      shops whose feeds that page lists as JSON
    $ wearalike demo --shops wearalike.toml              shops of a settings file
    $ wearalike demo --serve                             Airflow, to look at the DAG and trigger it
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with shop_settings(shops, folder) as config:
        if serve:
            run_standalone(prepare_airflow(folder, config, port), port)
        else:
            run_and_report(folder, config, run_name)


def run_and_report(folder: Path, config: Path, run: str) -> None:
    """Run the DAG once, through Airflow; then print what was published, and where to look.

    Args:
        folder: everything is written into it.
        config: the settings file that names the shops.
        run: the run's name.
    """
    logfile = folder / "night.log"
    print(f"  preparing Airflow in {folder}", flush=True)
    env = prepare_airflow(folder, config, DEFAULT_PORT)
    print(f"  starting the DAG; its whole log: {logfile}", flush=True)
    run_dag(env, run, logfile)
    print_results(config, run, folder)


def prepare_airflow(folder: Path, config: Path, port: int) -> dict[str, str]:
    """Create Airflow's own tables.

    Args:
        folder: Airflow's home lies in it.
        config: the settings file for the stages.
        port: of Airflow's pages.

    Returns:
        The environment for Airflow's processes.
    """
    env = airflow_environment(folder, config, port)
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=env,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return env


@contextlib.contextmanager
def shop_settings(source: str | None, folder: Path) -> Iterator[Path]:
    """Write the settings file of the shops asked for.

    Args:
        source: a page that lists feeds, a settings file, or None for the sample shops, which are
            served as long as the block lasts.
        folder: the settings file and the data are written into it.

    Yields:
        The settings file.
    """
    config = folder / "wearalike.toml"
    mappings = REPOSITORY_DIR / "mappings"
    if source is None:
        with sample.serve_shops() as address:
            root = folder / "root"
            sample.write_settings(config, address, root, mappings, COMPARED_ENCODERS)
            yield config
    elif source.startswith(("http://", "https://")):
        with urllib.request.urlopen(source, timeout=30) as response:
            feeds = {name: shop["feed"] for name, shop in json.load(response).items()}
        text = sample.settings_text(feeds, folder / "root", mappings)
        config.write_text(text, encoding="utf-8")
        yield config
    else:
        yield Path(source).resolve()


def airflow_environment(folder: Path, config: Path, port: int) -> dict[str, str]:
    """Return the environment for Airflow and its tasks; nothing is written outside the folder.

    Args:
        folder: Airflow's home lies in it.
        config: the settings file for the stages.
        port: of Airflow's pages.

    Returns:
        This process's environment, with Airflow's settings.
    """
    home = folder / "airflow"
    return {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY_DIR / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "WEARALIKE_CONFIG": str(config),
    }


def run_dag(env: dict[str, str], run: str, logfile: Path) -> None:
    """Run the DAG once, without a scheduler; tasks and our own log lines go to the terminal.

    Args:
        env: the environment for Airflow.
        run: the run's name.
        logfile: gets the whole log.

    Raises:
        job.JobRejected: a task failed.
    """
    dag = str(REPOSITORY_DIR / "dags" / "similar_products.py")
    conf = json.dumps({"run": run, "force": True, "shards": 1})
    command_line = [sys.executable, "-m", "airflow", "dags", "test", "similar_products"]
    command_line += ["-f", dag, "-c", conf]
    with logfile.open("w", encoding="utf-8") as whole_log:
        output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with child_session.start_session(command_line, env, text=True, **output) as process:
            for line in process.stdout or ():
                whole_log.write(line)
                if task := re.search(r"\[DAG TEST\] starting task_id=(\w+)", line):
                    print(f"  == {task[1]}", flush=True)
                # A stage's own log line; Airflow also logs the command line, which names the
                # package.
                if own := re.search(r" (?:INFO|WARNING|ERROR) wearalike\.(.+)", line):
                    print("  " + own[1].split(" [airflow.")[0].rstrip(), flush=True)
            if process.wait():
                raise job.JobRejected(f"the run failed; the whole log is {logfile}")


def print_results(config: Path, run: str, folder: Path) -> None:
    """Print what was published, and where to look.

    Args:
        config: the settings file.
        run: the run's name.
        folder: gets contact_sheet.html.
    """
    root = settings.read_settings(config).data_dir
    sheet = folder / "contact_sheet.html"
    sheet.write_text(contact_sheet.render_contact_sheet(root, run), encoding="utf-8")
    published = publish.published_run(settings.read_settings(config))
    print(contact_sheet.format_recommendations(root, run, count=5))
    print(f"published  {published}")
    print(f"tables     {root}")
    print(f"quality    {(root / 'quality' / f'run={run}' / 'quality.html').as_uri()}")
    print(f"look at    {sheet.as_uri()}")
    print(f"browse     {Path(sys.executable).parent / 'wearalike'} serve --config {config}")


def run_standalone(env: dict[str, str], port: int) -> None:
    """Run Airflow in the foreground until Ctrl-C, with the pools that the DAGs need.

    Args:
        env: the environment for Airflow.
        port: of its pages.
    """
    for pool, (slots, meaning) in AIRFLOW_POOLS.items():
        subprocess.run(
            [sys.executable, "-m", "airflow", "pools", "set", pool, str(slots), meaning],
            env=env,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    password_file = f"{env['AIRFLOW_HOME']}/simple_auth_manager_passwords.json.generated"
    print(
        f"Airflow at http://127.0.0.1:{port}/ , user admin, password in {password_file}",
        flush=True,
    )
    command_line = [sys.executable, "-m", "airflow", "standalone"]
    with child_session.start_session(command_line, env) as process:
        if process.wait():
            raise job.JobRejected(f"Airflow ended with code {process.returncode}")
