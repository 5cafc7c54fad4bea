"""Run one stage, or all of them in order, in this process."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from wearalike.pipeline.job import JobRejected
from wearalike.pipeline.quality_options import stage_arguments
from wearalike.pipeline.stages import STAGES, STAGES_BY_NAME

log = logging.getLogger("wearalike")


def run_stage(name: str, argv: Sequence[str]) -> int:
    """Run one stage.

    Args:
        name: the stage's name.
        argv: its options, e.g. ["--run", "2026-11-21"].

    Returns:
        0 when done; 1 for an error that the operator can mend.

    Raises:
        SystemExit: bad usage.
    """
    module = importlib.import_module(f"wearalike.pipeline.{STAGES_BY_NAME[name].name}")
    code: int = module.main(list(argv))
    return code


def run_stages(
    run: str,
    *,
    data_dir: Path | None = None,
    config: Path | None = None,
    force_feeds: bool = False,
    day: date | None = None,
    quality_values: Mapping[str, Any] | None = None,
) -> None:
    """Run every stage in order.

    Args:
        run: the run's name.
        data_dir: folder of all tables; None: the settings' data_dir.
        config: the settings file; None: the default.
        force_feeds: pull the feeds again although this run has pulled them.
        day: the run's day; None: that of its name, else today.
        quality_values: what overrides the settings, see `quality_options.stage_arguments`.

    Raises:
        JobRejected: a stage failed; the stages after it are not run.
    """
    options = ["--run", run]
    if data_dir:
        options += ["--data-dir", str(data_dir)]
    if config:
        options += ["--config", str(config)]
    for stage in STAGES:
        log.info("== %s", stage.name)
        extra = []
        if stage.name == "ingest_feeds":
            extra += ["--force"] if force_feeds else []
            extra += [f"--day={day}"] if day else []
        extra += stage_arguments(stage.name, quality_values or {})
        if run_stage(stage.name, [*options, *extra]):
            raise JobRejected(
                f"{stage.name} failed; what is published stays as it was. "
                "Mend the cause and run the same command again"
            )
