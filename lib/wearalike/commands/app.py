"""What a person types: a night, a rollback, mappings' check and draft, a deployment, its doctor, an export, a photo query, the server."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from pathlib import Path

import pyarrow.compute as pc

from wearalike import tables
from wearalike.pipeline import job
from wearalike.settings import Settings
from wearalike.storage import run_tables

log = logging.getLogger("wearalike")

# The night, in the data's order; dags/similar_products.py orders the same jobs.
NIGHTLY_JOBS = (
    "ingest_feeds",
    "map_products",
    "download_images",
    "detect_items",
    "encode_items",
    "detect_looks",
    "build_indexes",
    "match_products",
    "match_looks",
    "report_quality",
    "publish_tables",
)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="wearalike", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument(
        "--config",
        type=Path,
        help="settings file; default: $WEARALIKE_CONFIG, else ./wearalike.toml",
    )
    place.add_argument(
        "--data-dir", type=Path, help="folder of all tables; default: the settings' root"
    )

    run = commands.add_parser("run", parents=[place], help="the whole night, without Airflow")
    run.add_argument("--run", required=True, help="name of the run, e.g. 2026-11-21")
    run.add_argument(
        "--force",
        action="store_true",
        help="pull the feeds again although this run has pulled them",
    )
    run.set_defaults(work=run_pipeline)

    back = commands.add_parser(
        "rollback", parents=[place], help="the site reads the run published before, from now on"
    )
    back.set_defaults(work=rollback)

    check = commands.add_parser(
        "check-mapping",
        parents=[place],
        help="every mistake in the shops' mappings, with file and line",
    )
    check.add_argument(
        "shops", nargs="*", metavar="SHOP", help="default: every shop of the settings"
    )
    check.set_defaults(work=check_mapping)

    suggest = commands.add_parser(
        "suggest-mapping",
        parents=[place],
        help="a draft of the lines that a shop's mapping lacks, best guesses as comments",
    )
    suggest.add_argument("shop", metavar="SHOP")
    suggest.add_argument("--run", help="the run whose offers are looked at; default: the last")
    suggest.set_defaults(work=suggest_mapping)

    init = commands.add_parser(
        "init",
        help="write a deployment into a folder: settings, mappings, DAGs, SQL, a compose file",
    )
    init.add_argument("folder", type=Path, metavar="DIR", help="nothing in it is overwritten")
    init.add_argument(
        "--sample", action="store_true", help="with the drawn sample shops, to try it on"
    )
    init.set_defaults(work=write_deployment)

    doctor = commands.add_parser(
        "doctor",
        parents=[place],
        help="what a night needs, examined here; exit code 1 where something fails",
    )
    doctor.set_defaults(work=run_doctor)

    export = commands.add_parser(
        "export",
        parents=[place],
        help="what is published, as keys and values for Redis and the like",
    )
    export.add_argument(
        "--format",
        choices=("jsonl",),
        default="jsonl",
        help="one JSON object a line (default: %(default)s)",
    )
    export.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="written whole or not at all"
    )
    export.set_defaults(work=export_published)
    query = commands.add_parser(
        "query",
        parents=[place],
        help="photos to products: the items in them, and what is most alike in stock",
    )
    importlib.import_module("wearalike.commands.query_photo").add_arguments(query)
    query.set_defaults(work=query_photos)
    serving = commands.add_parser(
        "serve",
        parents=[place],
        help="the JSON API and the pages over what is published, until Ctrl-C",
    )
    serving.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    serving.add_argument(
        "--port", type=int, default=8080, help="0: any free one (default: %(default)s)"
    )
    serving.set_defaults(work=serve)
    return made


def main(argv: list[str] | None = None) -> int:
    return job.run_job(lambda args: args.work(args), parser(), argv)


def _load_settings(args: argparse.Namespace) -> Settings:
    return job.load_settings(args)


def run_pipeline(args: argparse.Namespace) -> None:
    """Every job of the night in order, in this process; stops at the first that fails."""
    place = [
        part
        for name in ("data_dir", "config")
        if getattr(args, name)
        for part in (f"--{name.replace('_', '-')}", str(getattr(args, name)))
    ]
    for name in NIGHTLY_JOBS:
        log.info("== %s", name)
        redo = ["--force"] if args.force and name == "ingest_feeds" else []
        code = importlib.import_module(f"wearalike.pipeline.{name}").main(
            ["--run", args.run, *place, *redo]
        )
        if code:
            raise job.JobRejected(
                f"{name} failed; what is published stays as it was. Mend the cause and run the same command again"
            )


def rollback(args: argparse.Namespace) -> None:
    from wearalike.reports import run_feed
    from wearalike.warehouse import publish
    from wearalike.warehouse.base import open_warehouse

    place = _load_settings(args)
    print(publish.rollback(place))
    with run_feed.warn_on_errors():
        run_feed.record_publications(place.data_dir, open_warehouse(place.warehouse).state())


def check_mapping(args: argparse.Namespace) -> None:
    from wearalike import catalog

    settings = _load_settings(args)
    shops = args.shops or [s.id for s in settings.shops]
    mistakes = catalog.find_mistakes(settings, shops)
    print(*mistakes, sep="\n", end="\n" if mistakes else "")
    if mistakes:
        raise job.JobRejected(f"{len(mistakes)} mistakes")
    print(f"no mistakes in {', '.join(shops)}")


def suggest_mapping(args: argparse.Namespace) -> None:
    from wearalike import catalog

    settings = _load_settings(args)
    runs = run_tables.list_runs(settings.data_dir, tables.OFFERS)
    if not (args.run or runs):
        raise run_tables.TableNotFound(
            f"{settings.data_dir}: no run has pulled feeds yet; run wearalike run, or jobs/ingest_feeds.py, first"
        )
    offers = run_tables.open_dataset(
        settings.data_dir, tables.OFFERS, args.run or runs[-1]
    ).to_table(filter=pc.field("shop_id") == settings.shop(args.shop).id)
    print(catalog.draft_shop_mapping(settings, args.shop, offers))


def write_deployment(args: argparse.Namespace) -> None:
    from wearalike.ops.deployment import create

    files = create.create_deployment(args.folder, with_sample=args.sample)
    print(f"{len(files)} files in {args.folder}; read {args.folder / 'README.md'}, and begin with")
    print(f"  cd {args.folder} && wearalike doctor")


def run_doctor(args: argparse.Namespace) -> None:
    from wearalike.ops import doctor

    found = []
    for finding in doctor.run_checks(doctor.Environment(_load_settings(args))):
        print(finding, flush=True)
        found.append(finding.status)
    if failed := found.count(doctor.CheckStatus.FAIL):
        raise job.JobRejected(f"{failed} of {len(found)} findings would stop a night")


def export_published(args: argparse.Namespace) -> None:
    from wearalike.warehouse import export

    count = export.write_jsonl(_load_settings(args), args.out)
    print(f"{count:,} products in {args.out}")


def query_photos(args: argparse.Namespace) -> None:
    importlib.import_module("wearalike.commands.query_photo").work(args)


def serve(args: argparse.Namespace) -> None:
    from wearalike.server import serve as server_serve

    server_serve.serve(_load_settings(args), args.host, args.port)


if __name__ == "__main__":
    sys.exit(main())
