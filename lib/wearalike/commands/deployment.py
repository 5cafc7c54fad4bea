"""Commands for a deployment: `wearalike init`, `wearalike doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from wearalike.commands.groups import command
from wearalike.commands.options import PATH, settings_options
from wearalike.pipeline import job


@command("init")
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("--sample", is_flag=True, help="Include the drawn sample shops, to try it on.")
def init(folder: Path, sample: bool) -> None:
    """Write a deployment into DIR: settings, mappings, DAGs, SQL and a compose file.

    Nothing in DIR is overwritten.
    """
    from wearalike.ops.deployment import create

    files = create.create_deployment(folder, with_sample=sample)
    print(f"{len(files)} files in {folder}; read {folder / 'README.md'}, and begin with")
    print(f"  cd {folder} && wearalike doctor")


@command("doctor")
@settings_options
@click.option(
    "--deep", is_flag=True, help="Read every kept image and DuckDB's files, too; it takes minutes."
)
def doctor(data_dir: Path | None, config: Path | None, deep: bool) -> None:
    """Check that a run can succeed here; exit code 1 where something would stop it."""
    from wearalike.ops import doctor as checks

    environment = checks.Environment(job.read_settings(config, data_dir, opens_data=False))
    statuses = []
    for result in checks.run_checks(environment, is_deep=deep):
        print(result, flush=True)
        statuses.append(result.status)
    failed_count = statuses.count(checks.CheckStatus.FAIL)
    if failed_count:
        raise job.JobRejected(f"{failed_count} of {len(statuses)} checks would stop a run")
