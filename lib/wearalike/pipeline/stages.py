"""A run as data: its stages in order, with the tables that each reads and writes.

The runner, the DAG, Airflow's lineage and the reference all derive from `STAGES`.
This module imports no heavy library: a DAG file imports it each time it is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a run.

    Attributes:
        name: its module in wearalike.pipeline, its file in jobs/, and its task in Airflow.
        summary: one line on what it does.
        reads: names of the tables it reads.
        writes: names of the tables it writes.
        pool: the Airflow pool that its task takes a slot of; None: the default pool.
        is_sharded: True if several processes may fill its cache side by side, with --shard.
        experiment_reads: tables that it reads, too, where a run has an experiment.
        experiment_writes: tables that it writes then.
    """

    name: str
    summary: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    pool: str | None = None
    is_sharded: bool = False
    experiment_reads: tuple[str, ...] = ()
    experiment_writes: tuple[str, ...] = ()


# The warehouse holds these of every published run. A test compares them with tables.py.
PUBLISHED_TABLES = (
    "products",
    "product_variants",
    "similar_products",
    "similar_lists",
    "look_products",
    "quality",
)
# Those that a run has only with an experiment.
EXPERIMENT_TABLES = ("similar_products_variants", "similar_lists_variants", "list_variants")
# Those that a run has only with an experiment of encoders.
ENCODER_TABLES = ("codes_variants", "indexes_variants")

_BEFORE_THE_GATE = (
    Stage(
        "ingest_feeds",
        "Pull every shop's feed.",
        writes=("feeds", "offers"),
        pool="network",
    ),
    Stage(
        "map_products",
        "Map each offer's category to a leaf of the taxonomy.",
        reads=("offers",),
        writes=("products", "product_variants"),
    ),
    Stage(
        "download_images",
        "Download every image of the products.",
        reads=("products",),
        writes=("images",),
        pool="network",
        is_sharded=True,
    ),
    Stage(
        "detect_items",
        "Detect the garments, shoes and bags in every image.",
        reads=("images",),
        writes=("items",),
        pool="gpu",
        is_sharded=True,
    ),
    Stage(
        "encode_items",
        "Encode the items that may stand for a product: 128 bits of shape, 128 of colour; tell "
        "the leaf that its pictures show.",
        reads=("products", "images", "items"),
        writes=("codes", "product_leaves"),
        pool="gpu",
        is_sharded=True,
        experiment_writes=("codes_variants",),
    ),
    Stage(
        "detect_looks",
        "Detect and encode what else is worn in the products' full-figure images.",
        reads=("products", "images", "items", "codes"),
        writes=("looks",),
        pool="gpu",
        is_sharded=True,
    ),
    Stage(
        "build_indexes",
        "Choose the item that represents each product; write one index a super-category.",
        reads=("products", "images", "items", "codes"),
        writes=("indexes",),
        experiment_reads=("codes_variants",),
        experiment_writes=("indexes_variants",),
    ),
    Stage(
        "match_products",
        "Find the most similar products of every product, exactly.",
        reads=("products", "indexes"),
        writes=("matches", "similar_products", "similar_lists"),
        experiment_reads=("indexes_variants",),
        experiment_writes=("matches_variants", *EXPERIMENT_TABLES),
    ),
    Stage(
        "match_looks",
        "Complete each product's look: like what it is worn with, by its feed, or as the most "
        "alike product's.",
        reads=("products", "looks", "indexes", "similar_products"),
        writes=("look_products",),
    ),
)

STAGES: tuple[Stage, ...] = (
    *_BEFORE_THE_GATE,
    Stage(
        "report_quality",
        "Measure the run and close the gate if a threshold is missed.",
        reads=tuple(table for stage in _BEFORE_THE_GATE for table in stage.writes),
        writes=("quality",),
        experiment_reads=tuple(t for stage in _BEFORE_THE_GATE for t in stage.experiment_writes),
    ),
    Stage(
        "publish_tables",
        "Load the run into the warehouse; from then on the site reads it.",
        reads=PUBLISHED_TABLES,
        experiment_reads=EXPERIMENT_TABLES,
    ),
)
STAGE_NAMES: tuple[str, ...] = tuple(stage.name for stage in STAGES)
STAGES_BY_NAME = {stage.name: stage for stage in STAGES}


def markdown() -> str:
    """Return the table of stages in Markdown, for the README and the reference."""
    lines = ["| stage | what it does | reads | writes |", "|---|---|---|---|"]
    for stage in STAGES:
        reads = "all of the above" if stage.name == "report_quality" else ", ".join(stage.reads)
        writes = ", ".join(stage.writes) or "the warehouse"
        lines.append(f"| `{stage.name}` | {stage.summary} | {reads or 'the shops'} | {writes} |")
    return "\n".join(lines)
