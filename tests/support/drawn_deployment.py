"""A deployment whose nights are drawn, and written, searched, published and pruned by real code.

Nothing is fetched, detected or encoded: codes and bytes of pictures are drawn. A night replaces a
share of the products. The clock is drawn, too: files get the time of their night.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from tests.quality import drawn_night

from wearalike import search, tables
from wearalike.detection.detect import ITEM_CACHE_SCHEMA
from wearalike.encoding.encoders import CODE_CACHE_SCHEMA, LEAF_CACHE_SCHEMA
from wearalike.imaging import ledger
from wearalike.pipeline import build_indexes, match_plan, match_products
from wearalike.pipeline.match_task import CANDIDATES_DIR, run_match_task
from wearalike.pipeline.stage_command import StageOptions
from wearalike.settings import Settings
from wearalike.storage import atomic, content_cache, run_tables
from wearalike.warehouse import publish
from wearalike.warehouse.base import open_warehouse

SHOP = "moda"
DETECTOR, ENCODER = "whole-1", "drawn-1"
CLASSIFIER = "drawn-leaves-1"
FIRST_DAY = date(2026, 1, 1)
PICTURE_URL = "https://moda.example/{}.jpg"
LOADED_RUNS = 7


@dataclass
class DrawnDeployment:
    """A deployment of one shop.

    Attributes:
        settings: Its settings.
        products_count: Products of every night.
        churn: Share of the products that each night replaces.
        picture_bytes: Size of a picture.
        metrics_count: Rows of the table `quality`, as many as a real night has.
    """

    settings: Settings
    products_count: int
    churn: float = 0.01
    picture_bytes: int = 20_000
    metrics_count: int = 900
    number: int = 0
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    _rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(16))
    _drawn_count: int = 0

    @property
    def root(self) -> Path:
        return self.settings.data_dir

    @property
    def day(self) -> date:
        """The day of the last night."""
        return FIRST_DAY + timedelta(days=self.number - 1)

    @property
    def now(self) -> datetime:
        """The end of the last night."""
        return datetime.combine(self.day, time(4), UTC)

    @property
    def run(self) -> str:
        return self.day.isoformat()

    def add_night(self) -> str:
        """Draw, write, search and publish one more night; return its run."""
        began_s = datetime.now(UTC).timestamp()
        self.number += 1
        gone = round(self.products_count * self.churn) if len(self.frame) else 0
        wanted = self.products_count - len(self.frame) + gone
        kept = self.frame.iloc[gone:] if gone else self.frame
        self.frame = pd.concat([kept, self._draw(wanted)], ignore_index=True)
        self._write_caches(self.frame.tail(wanted))
        self._write_ledger()
        self._write_tables()
        self._search()
        self._write_quality()
        warehouse = open_warehouse(self.settings.warehouse)
        publish.publish_run(self.root, self.run, warehouse)
        warehouse.prune(LOADED_RUNS)
        self._set_clock(began_s)
        return self.run

    def _draw(self, count: int) -> pd.DataFrame:
        drawn = drawn_night.draw_products(SHOP, self._drawn_count, count, self._rng)
        self._drawn_count += count
        contents = [self._rng.bytes(self.picture_bytes) for _ in range(count)]
        drawn["image_id"] = [hashlib.sha256(content).hexdigest() for content in contents]
        drawn["item_id"] = [f"{image_id[:40]}-0" for image_id in drawn["image_id"]]
        for image_id, content in zip(drawn["image_id"], contents, strict=True):
            path = content_cache.image_path(self.root, image_id)
            atomic.write_bytes(path, content, sync_folder=False)
        return drawn

    def _write_caches(self, new: pd.DataFrame) -> None:
        items = self._items(new).append_column("reason", pa.nulls(len(new), pa.string()))
        content_cache.cache_rows(
            self.root, "items", DETECTOR, items.select(ITEM_CACHE_SCHEMA.names)
        )
        codes = self._codes(new).append_column("reason", pa.nulls(len(new), pa.string()))
        content_cache.cache_rows(self.root, "codes", ENCODER, codes.select(CODE_CACHE_SCHEMA.names))
        leaves = [items["item_id"].combine_chunks(), pa.array([b"\0\0"] * len(new))]
        content_cache.cache_rows(
            self.root, "leaves", CLASSIFIER, pa.table(leaves, schema=LEAF_CACHE_SCHEMA)
        )

    def _write_ledger(self) -> None:
        """Write that every address was asked for, a file for each five hundred answers."""
        count = len(self.frame)
        rows = pa.table(
            {
                "url": [PICTURE_URL.format(i) for i in self.frame["product_id"]],
                "run": [self.run] * count,
                "checked_at": [self.now] * count,
                "etag": [f'"{image_id[:16]}"' for image_id in self.frame["image_id"]],
                "image_id": self.frame["image_id"],
                "bytes": [self.picture_bytes] * count,
                "format": ["JPEG"] * count,
                **{name: [600] * count for name in ("width_px", "height_px")},
                **{name: pa.nulls(count) for name in ("last_modified", "reason", "detail")},
            }
        )
        rows = rows.select(ledger.LEDGER_SCHEMA.names).cast(ledger.LEDGER_SCHEMA)
        for start in range(0, count, 500):
            ledger.append_to_ledger(self.root, SHOP, rows.slice(start, 500))
        ledger.compact_ledger(self.root, SHOP)

    def _items(self, frame: pd.DataFrame) -> pa.Table:
        count = len(frame)
        columns = {
            "item_id": frame["item_id"],
            "image_id": frame["image_id"],
            **{name: [0] * count for name in ("x0", "y0")},
            **{name: [600] * count for name in ("x1", "y1")},
            "super_category": pa.nulls(count),
            "confidence": [1.0] * count,
            "detector": [DETECTOR] * count,
        }
        return _cast(columns, tables.ITEMS)

    def _codes(self, frame: pd.DataFrame) -> pa.Table:
        packed = {
            half: [row.tobytes() for row in np.packbits(np.stack(list(frame[half])), axis=1)]
            for half in ("shape", "colour")
        }
        columns = {
            "item_id": frame["item_id"],
            **{half: pa.array(rows, pa.binary(16)) for half, rows in packed.items()},
            "encoder": [ENCODER] * len(frame),
            "view": pa.nulls(len(frame)),
        }
        return _cast(columns, tables.CODES)

    def _products(self, table: tables.Table) -> pa.Table:
        """Return the night's offers, or its products."""
        frame = self.frame
        lists = {
            "category_paths": "category_path",
            "colours": "colour_word",
            "colour_names": "colour_word",
            "sizes": "size",
            "article_evidence": None,
        }
        urls = [[PICTURE_URL.format(i)] for i in frame["product_id"]]
        columns: dict[str, object] = {}
        for column in table.columns:
            if column.name == "image_urls":
                columns[column.name] = urls
            elif lists.get(column.name):
                columns[column.name] = [[value] for value in frame[lists[column.name]]]
            elif pa.types.is_list(column.type):
                columns[column.name] = [[]] * len(frame)
            elif column.name in frame:
                columns[column.name] = pa.array(frame[column.name], from_pandas=True)
            else:
                columns[column.name] = pa.nulls(len(frame))
        return _cast(columns, table).sort_by("product_id")

    def _write_tables(self) -> None:
        count = len(self.frame)
        counts = {name: [0] for name in ("refused_count", "withdrawn_count", "warnings_count")}
        facts = {
            "shop_id": [SHOP],
            "status": ["fresh"],
            "source_run": [self.run],
            **counts,
            **{name: [count] for name in ("offers_count", "written_count")},
        }
        rest = {n: pa.nulls(1) for n in tables.FEEDS.column_names if n not in facts}
        self._write(tables.FEEDS, _cast({**facts, **rest}, tables.FEEDS), day=self.run)
        self._write(tables.OFFERS, self._products(tables.OFFERS))
        self._write(tables.PRODUCTS, self._products(tables.PRODUCTS))
        images = {
            **{name: self.frame[name] for name in ("product_id", "image_id")},
            "position": [0] * count,
            "image_url": [PICTURE_URL.format(i) for i in self.frame["product_id"]],
            "format": ["JPEG"] * count,
            **{name: [600] * count for name in ("width_px", "height_px")},
            "bytes": [self.picture_bytes] * count,
        }
        self._write(tables.IMAGES, _cast(images, tables.IMAGES))
        self._write(tables.ITEMS, self._items(self.frame), detector=DETECTOR)
        codes = self._codes(self.frame).sort_by("item_id")
        self._write(tables.CODES, codes, encoder=ENCODER)
        self._write(tables.LOOKS, tables.LOOKS.arrow_schema.empty_table(), why_empty="drawn")

    def _write(self, table: tables.Table, rows: pa.Table, **facts: object) -> None:
        with run_tables.write_table(self.root, table, self.run, f"drawn {self.run}") as writer:
            writer.write(rows)
            writer.manifest_extras |= facts

    def _search(self) -> None:
        """Build the indexes and search what changed, as the stages do, without Spark."""
        options = StageOptions(
            run=self.run, settings=self.settings, force=False, config=None, data_dir=None
        )
        build_indexes.work(options)
        plan = match_plan.MatchPlan(self.root, self.run, "cpu", search.ListRules(k=20), [])
        entries = run_tables.read_table(self.root, tables.INDEXES, self.run)
        counts = match_plan.count_values(entries["super_category"])
        former = match_products.find_previous_run(self.root, self.run)
        with run_tables.write_table(
            self.root, tables.MATCHES, self.run, plan.signature(), plan.parameters()
        ) as table:
            for task in plan.tasks(counts, table.path / CANDIDATES_DIR, former):
                table.write(run_match_task(task))
            table.manifest_extras["made_from"] = match_plan.input_hashes(self.root, self.run)
            table.manifest_extras["distance"] = search.DISTANCE_VERSION
        match_products.write_similar_tables(options, self.root)
        for table in tables.TABLES:
            is_other = table not in (tables.QUALITY, tables.REFUSED)
            if is_other and not run_tables.is_complete(self.root, table, self.run):
                self._write(table, table.arrow_schema.empty_table())

    def _write_quality(self) -> None:
        count = self.metrics_count
        values = {
            "metric": [f"metric_{number}" for number in range(count)],
            "scope": ["all"] * count,
            "value": self._rng.random(count),
            "unit": ["ratio"] * count,
            "verdict": ["ok"] * count,
            **{name: pa.nulls(count) for name in ("low", "high", "threshold")},
        }
        facts = {"verdict": "ok", "failed": [], "settings": {}}
        with run_tables.write_table(
            self.root, tables.QUALITY, self.run, self.run, {"last_run": None}
        ) as writer:
            writer.write(_cast(values, tables.QUALITY))
            # About the size of a real page, which compresses no better.
            (writer.path / "quality.html").write_bytes(self._rng.bytes(300_000))
            writer.manifest_extras |= facts

    def _set_clock(self, began_s: float) -> None:
        """Give what this night wrote the time of the night."""
        at_s = self.now.timestamp()
        written = [self.root / name / f"run={self.run}" for name in tables.TABLES_BY_NAME]
        for folder in (*written, self.root / "cache"):
            for path, _, names in os.walk(folder):
                for name in names:
                    file = os.path.join(path, name)
                    if os.stat(file).st_mtime >= began_s - 1:
                        os.utime(file, (at_s, at_s))


def _cast(columns: dict[str, object], table: tables.Table) -> pa.Table:
    arrays = [
        value
        if isinstance(value, pa.Array | pa.ChunkedArray)
        else pa.array(value, None if isinstance(value, pd.Series) else schema_type)
        for value, schema_type in (
            (columns[c.name], table.arrow_schema.field(c.name).type) for c in table.columns
        )
    ]
    return pa.table(arrays, names=table.column_names).cast(table.arrow_schema)
