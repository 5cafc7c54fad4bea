"""`wearalike rules preview`: what a changed rules file does to the published lists."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wearalike import catalog
from wearalike.commands.groups import command
from wearalike.commands.options import PATH, settings_options
from wearalike.pipeline import job
from wearalike.pipeline.stage_command import day_option_attributes

if TYPE_CHECKING:
    from wearalike.search import rules_preview

MAX_SHOWN_LISTS = 20


@click.group("rules")
def rules() -> None:
    """Look at the merchandiser's rules before they act."""


@command("preview")
@click.option(
    "--rules", "rules_file", type=PATH, metavar="FILE", help="Default: rules.xml of the mappings."
)
@click.option("--run", "run_name", help="Run whose lists are compared; default: the published one.")
@click.option("--day", **{**day_option_attributes(), "help": "Day of the rules; default: today."})
@click.option(
    "--lists",
    "lists_count",
    type=click.IntRange(0),
    default=MAX_SHOWN_LISTS,
    show_default=True,
    help="Altered lists that are printed.",
)
@settings_options
def preview(
    rules_file: Path | None,
    run_name: str | None,
    day: date | None,
    lists_count: int,
    data_dir: Path | None,
    config: Path | None,
) -> None:
    """Show which published lists a changed rules file alters; nothing is published.

    Rules that never act and rules that contradict each other are named. The page /rules of
    `wearalike serve` shows the same with pictures.
    """
    from wearalike.search import rules_preview
    from wearalike.settings import today
    from wearalike.warehouse import publish

    settings = job.read_settings(config, data_dir, needs_feeds=False)
    path = rules_file or catalog.rules_path(settings)
    if rules_file and not rules_file.is_file():
        raise job.JobRejected(f"{rules_file}: no such file")
    taxonomy = catalog.read_taxonomy(settings.mappings / "taxonomy.xml")
    schema = catalog.rules_path(settings).with_suffix(".rng")
    new_rules = catalog.read_rules(path, taxonomy, schema)
    run = run_name or publish.published_run(settings)
    if run is None:
        raise job.JobRejected("nothing is published yet; run `wearalike run` first")
    found = rules_preview.preview_rules(settings.data_dir, run, new_rules, day or today())
    print(format_preview(found, lists_count))


def format_preview(found: rules_preview.RulesPreview, lists_count: int) -> str:
    """Return a preview as text: rules with counts, contradictions, then altered lists.

    Args:
        found: The preview.
        lists_count: Altered lists to write, at most.
    """
    lines = [
        f"{path_text(found)}: {len(found.changed):,} of {found.lists_count:,} lists change",
        "",
        f"{'rule':<34} {'pages':>8} {'products':>9} {'rows':>8}",
    ]
    for effect in found.effects:
        name = f"{effect.rule.kind} {effect.rule.id}"
        idle = f"  never acts: {effect.idle_reason}" if effect.idle_reason else ""
        lines.append(
            f"{name:<34} {effect.pages_count:>8,} {effect.products_count:>9,} "
            f"{effect.rows_count:>8,}{idle}"
        )
    lines += [f"contradiction: {text}" for text in found.contradictions]
    for one in found.changed[:lists_count]:
        lines += ["", one.product_id]
        lines += [f"  - {e.product_id}" for e in one.before if e.product_id in one.gone]
        lines += [
            f"  {'+' if e.product_id in one.new else ' '} {rank:>2} {e.product_id}"
            f"{f'  {e.rule}' if e.rule else ''}"
            for rank, e in enumerate(one.after, 1)
        ]
    if len(found.changed) > lists_count:
        lines += ["", f"and {len(found.changed) - lists_count:,} more lists; --lists shows them"]
    return "\n".join(lines)


def path_text(found: rules_preview.RulesPreview) -> str:
    """Return the run and the day that a preview is of."""
    return f"run {found.run}, rules of {found.day}"


rules.add_command(preview)
