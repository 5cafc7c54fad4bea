"""The demo: the real DAG through Airflow, on sample shops that the code draws, or on shops of yours.

    python -m wearalike.commands.run_demo                                      the drawn sample shops
    python -m wearalike.commands.run_demo --shops http://127.0.0.1:8765/       shops whose feeds that page lists as JSON
    python -m wearalike.commands.run_demo --shops wearalike.toml               shops of a settings file
    python -m wearalike.commands.run_demo --serve                              Airflow standalone, to look at the DAG and trigger it

Everything it writes is under --folder, build/demo by default.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import logging
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from wearalike import sample, settings
from wearalike.pipeline import job
from wearalike.reports import contact_sheet
from wearalike.warehouse import publish

log = logging.getLogger("wearalike.demo")
REPOSITORY_DIR = Path(__file__).resolve().parents[3]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--shops",
        help="address of a page that lists feeds as JSON, or a settings file; default: the sample shops",
    )
    made.add_argument(
        "--run", default=datetime.date.today().isoformat(), help="name of the run (default: today)"
    )
    made.add_argument(
        "--folder",
        type=Path,
        default=Path("build/demo"),
        help="where everything goes (default: %(default)s)",
    )
    made.add_argument("--serve", action="store_true", help="Airflow standalone instead of one run")
    made.add_argument(
        "--port",
        type=int,
        default=8080,
        help="of Airflow's pages with --serve (default: %(default)s)",
    )
    return made


def work(args: argparse.Namespace) -> None:
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with shop_settings(args.shops, folder) as config:
        if args.serve:
            run_standalone(prepare_airflow(folder, config, args.port), args.port)
        else:
            run_and_report(folder, config, args.run)


def run_and_report(folder: Path, config: Path, run: str) -> None:
    """The DAG once, through Airflow, on the shops of a settings file; then what was published, and where to look."""
    run_dag(prepare_airflow(folder, config, 8080), run, folder / "night.log")
    print_results(config, run, folder)


def prepare_airflow(folder: Path, config: Path, port: int) -> dict[str, str]:
    """The environment of an Airflow whose tables are made."""
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
    """The settings file of the shops asked for; the sample shops are served as long as the block lasts."""
    config = folder / "wearalike.toml"
    if source is None:
        with sample.serve_shops() as address:
            sample.write_settings(config, address, folder / "root", REPOSITORY_DIR / "mappings")
            yield config
    elif source.startswith(("http://", "https://")):
        with urllib.request.urlopen(source, timeout=30) as answer:
            feeds = {name: shop["feed"] for name, shop in json.load(answer).items()}
        config.write_text(
            sample.settings_text(feeds, folder / "root", REPOSITORY_DIR / "mappings"),
            encoding="utf-8",
        )
        yield config
    else:
        yield Path(source).resolve()


def airflow_environment(folder: Path, config: Path, port: int) -> dict[str, str]:
    """What Airflow and the jobs under it need to know; nothing is written outside the folder."""
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
    """One run of the DAG without a scheduler. The whole log goes to a file, our own lines to the terminal."""
    dag = str(REPOSITORY_DIR / "dags" / "similar_products.py")
    conf = json.dumps({"run": run, "redo": True, "chunks": 1})
    command = [
        sys.executable,
        "-m",
        "airflow",
        "dags",
        "test",
        "similar_products",
        "-f",
        dag,
        "-c",
        conf,
    ]
    with logfile.open("w", encoding="utf-8") as whole:
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            whole.write(line)
            _, ours, message = line.partition(" wearalike.")
            if ours:
                print("  " + message.split(" [airflow.")[0].rstrip(), flush=True)
        if process.wait():
            raise job.JobRejected(f"the night did not end well; the whole log is {logfile}")


def print_results(config: Path, run: str, folder: Path) -> None:
    """What was published, and where to look."""
    place = settings.read_settings(config)
    root = place.data_dir
    sheet = folder / "contact_sheet.html"
    sheet.write_text(contact_sheet.render_contact_sheet(root, run), encoding="utf-8")
    print(contact_sheet.format_recommendations(root, run, count=5))
    print(f"published  {publish.published_run(settings.read_settings(folder / 'wearalike.toml'))}")
    print(f"tables     {root}")
    print(f"quality    {(root / 'quality' / f'run={run}' / 'quality.html').as_uri()}")
    print(f"look at    {sheet.as_uri()}")
    print(f"browse     {Path(sys.executable).parent / 'wearalike'} serve --config {config}")


def run_standalone(env: dict[str, str], port: int) -> None:
    """Airflow in the foreground until Ctrl-C, with the pools that the DAG needs."""
    for pool, slots, meaning in (("network", 2, "downloads"), ("gpu", 1, "models")):
        subprocess.run(
            [sys.executable, "-m", "airflow", "pools", "set", pool, str(slots), meaning],
            env=env,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    print(
        f"Airflow at http://127.0.0.1:{port}/ , user admin, password in {env['AIRFLOW_HOME']}/simple_auth_manager_passwords.json.generated",
        flush=True,
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "airflow", "standalone"], env=env, start_new_session=True
    )
    try:
        process.wait()
    except KeyboardInterrupt:
        # Only SIGINT stops standalone together with its children.
        process.send_signal(signal.SIGINT)
        process.wait()


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
