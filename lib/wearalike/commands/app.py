"""The command-line app `wearalike`: everything that a person types."""

from __future__ import annotations

import click

import wearalike
from wearalike.commands.groups import CONTEXT_SETTINGS, LazyGroup
from wearalike.pipeline.command_frame import run_command

_COMMANDS = {
    "run": ("run_pipeline:run", "Run every stage in order, without Airflow."),
    "status": ("show_status:status", "Show what is published, and what the last run did."),
    "rollback": ("publication:rollback", "Publish again the run that was published before."),
    "prune": ("prune_data:prune", "Remove what no run needs any more."),
    "load-events": ("load_events:load_events", "Take impressions, clicks and orders of the site."),
    "serve": ("publication:serve", "Serve the JSON API and the pages until Ctrl-C."),
    "query": ("query_photo:query", "Find the products most similar to the items in photos."),
    "export": ("publication:export", "Write the published lists as keys and values."),
    "register-iceberg": (
        "register_iceberg:register_iceberg",
        "Register the published run as Apache Iceberg tables.",
    ),
    "train": ("train:train", "Train an encoder, a view or leaf classifier, or a detector."),
    "evaluate": ("evaluate_models:evaluate", "Measure encoders and detectors on labelled photos."),
    "promote": ("promote_model:promote", "Use a new model from the next run on, if it is better."),
    "check-labels": ("check_labels:check_labels", "Check label files, or compare two people's."),
    "export-labels": ("export_labels:export_labels", "Write what people labelled as a set."),
    "check-mapping": ("mappings:check_mapping", "List every mistake in the shops' mappings."),
    "rules": ("preview_rules:rules", "Look at the merchandiser's rules before they act."),
    "suggest-mapping": ("mappings:suggest_mapping", "Draft the lines that a mapping lacks."),
    "compare-photo": (
        "compare_indexes:compare_photo",
        "Find the products nearest to photos' items by other encoders.",
    ),
    "compare-indexes": (
        "compare_indexes:compare_indexes",
        "Measure recall and bytes of Faiss's indexes.",
    ),
    "describe-items": ("describe_items:describe_items", "Encode a run's items by other encoders."),
    "doctor": ("deployment:doctor", "Check that a run can succeed here."),
    "init": ("deployment:init", "Write a deployment into a folder."),
    "demo": ("run_demo:demo", "Run the real DAG on the drawn sample shops."),
    "demo-photos": ("run_demo_photos:demo_photos", "Run the real DAG on a shop of real photos."),
    "contract": ("print_contract:contract", "Print the data contract of the published tables."),
    "reference": ("print_reference:reference", "Print docs/reference.md, made from the code."),
}

app = LazyGroup(
    name="wearalike",
    lazy_commands={
        name: (f"wearalike.commands.{target}", text) for name, (target, text) in _COMMANDS.items()
    },
    context_settings=CONTEXT_SETTINGS,
    help="From shops' product feeds to published tables of visually similar products.",
    epilog='Completion, e.g. in ~/.bashrc: eval "$(_WEARALIKE_COMPLETE=bash_source wearalike)"',
)
click.version_option(wearalike.__version__, prog_name="wearalike")(app)


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: its name and arguments; None: those of the process.

    Returns:
        0 when done; 1 for an error that the operator can mend, which is logged.

    Raises:
        SystemExit: bad usage, with code 2 and the usage on stderr.
    """
    return run_command(app, argv, "wearalike")
