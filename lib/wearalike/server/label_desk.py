"""Shared by the labelling pages: the queue of the run, everything saved, the words."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pyarrow.compute as pc

from wearalike.catalog import read_taxonomy
from wearalike.catalog.colour_names import ColourNames, read_colour_names
from wearalike.catalog.packaged import packaged_mapping_path
from wearalike.catalog.product_conditions import base_colour
from wearalike.datasets import picture_labels
from wearalike.datasets.formats.record import LabelledObject
from wearalike.datasets.label_queue import read_queue
from wearalike.datasets.pattern_words import PATTERN_NAMES, find_pattern
from wearalike.datasets.picture_labels import (
    LabelHistory,
    LabelPicture,
    LabelStatus,
    LabelVocabulary,
    PictureLabel,
)
from wearalike.detection.classes import GARMENT_CLASSES
from wearalike.metrics.boxes import item_scores
from wearalike.settings import Settings
from wearalike.storage import content_cache, run_tables
from wearalike.tables import ITEMS, PICTURE_LABELS
from wearalike.warehouse.base import Warehouse, open_warehouse

# Labels saved through other servers appear after at most this time.
HISTORY_MAX_AGE_S = 5.0


class LabelMode(StrEnum):
    """Which pictures a person is shown."""

    NEW = "new"  # of the run, those that nobody else has labelled
    SECOND = "second"  # those that exactly one other person has labelled
    FINAL = "final"  # those on which people disagree


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """A person's place in a queue.

    Attributes:
        pictures: The queue.
        number: The picture shown, from 0; None where all are done.
        done_count: Pictures that the person has saved or skipped.
    """

    pictures: Sequence[LabelPicture]
    number: int | None
    done_count: int

    @property
    def picture(self) -> LabelPicture | None:
        """The picture shown."""
        return None if self.number is None else self.pictures[self.number]

    def neighbour(self, step: int) -> LabelPicture | None:
        """Return the picture so many places on; None where there is none."""
        number = (len(self.pictures) if self.number is None else self.number) + step
        return self.pictures[number] if 0 <= number < len(self.pictures) else None


class LabelDesk:
    """Pictures to label and what was saved of them; threads may share it.

    Args:
        settings: Names the data folder, the warehouse and the mappings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._queue: tuple[str, list[LabelPicture]] | None = None
        self._history = LabelHistory()
        self._read_at_s = -HISTORY_MAX_AGE_S
        self._words: tuple[LabelVocabulary, ColourNames] | None = None

    def may_record(self) -> bool:
        """Return True if this server's role may save labels. Raises Unreachable."""
        return self._open_warehouse().may_record(PICTURE_LABELS)

    def run_pictures(self, run: str, signature: str) -> list[LabelPicture]:
        """Return the pictures of a run, the least sure first; cached by its signature.

        They are empty if the run's tables are gone.
        """
        with self._lock:
            if self._queue is None or self._queue[0] != signature:
                try:
                    pictures = read_queue(self._settings.data_dir, run)
                except run_tables.TableNotFound:
                    pictures = []
                self._queue = (signature, pictures)
            return self._queue[1]

    def history(self) -> LabelHistory:
        """Return everything that was saved, at most HISTORY_MAX_AGE_S old. Raises Unreachable."""
        with self._lock:
            if time.monotonic() - self._read_at_s >= HISTORY_MAX_AGE_S:
                self._history = picture_labels.read_history(self._open_warehouse())
                self._read_at_s = time.monotonic()
            return self._history

    def find_place(
        self, pictures: Sequence[LabelPicture], mode: LabelMode, labeller: str, asked: str | None
    ) -> QueuePlace:
        """Return a person's queue, and the picture asked for, else the first that is not done.

        Args:
            pictures: Pictures of the published run.
            mode: Which of them.
            labeller: The person.
            asked: An image_id; one that is not in the queue does not count.
        """
        history = self.history()
        if mode is LabelMode.NEW:
            queue = [one for one in pictures if not self._others(history, one.image_id, labeller)]
        else:
            queue = self._second_queue(history, labeller)
        saved = [labeller in history.by_picture.get(one.image_id, {}) for one in queue]
        number = next((i for i, one in enumerate(queue) if one.image_id == asked), None)
        if number is None:
            number = next((i for i, is_done in enumerate(saved) if not is_done), None)
        return QueuePlace(queue, number, sum(saved))

    def save(
        self,
        run: str,
        picture: LabelPicture,
        labeller: str,
        status: LabelStatus,
        objects: tuple[LabelledObject, ...],
    ) -> PictureLabel:
        """Save a label.

        Raises:
            Unreachable: The warehouse does not answer.
            Rejected: This server's role may not write.
        """
        saved_at = picture_labels.format_time(datetime.now(UTC))
        label = PictureLabel(picture, labeller, saved_at, status, objects)
        picture_labels.record_label(self._open_warehouse(), run, label)
        with self._lock:
            # Others may be reading the present one.
            self._history = LabelHistory([*self._history.rows, label])
        return label

    def vocabulary(self) -> LabelVocabulary:
        """Return the words that labels may use."""
        return self._read_words()[0]

    def proposals(self, run: str, image_id: str, product: dict[str, Any] | None) -> list[Any]:
        """Return the detector's boxes of a picture, as the column `boxes` holds them.

        The box that stands for the product gets what its feed says. A class is set where the
        super-category has one alone; the person sets the others.

        Args:
            run: The run.
            image_id: The picture.
            product: The product that it shows; None if the run lacks it.
        """
        wanted = pc.field("image_id") == image_id
        try:
            dataset = run_tables.open_dataset(self._settings.data_dir, ITEMS, run)
        except run_tables.TableNotFound:
            return []
        items = dataset.to_table(filter=wanted).sort_by("item_id").to_pylist()
        own = product["super_category"] if product else None
        near = [i for i in items if i["super_category"] == own]
        near = near or [i for i in items if i["super_category"] is None]
        scores = item_scores(near).tolist()
        best = near[scores.index(max(scores))]["item_id"] if near else None
        boxes = []
        for item in items:
            is_best = item["item_id"] == best
            of = [g.name for g in GARMENT_CLASSES if g.super_category == item["super_category"]]
            box: dict[str, Any] = {name: item[name] for name in ("x0", "y0", "x1", "y1")}
            box["class"] = of[0] if len(of) == 1 else ""
            boxes.append(box | (self._feed_labels(product) if is_best and product else {}))
        return boxes

    def _feed_labels(self, product: dict[str, Any]) -> dict[str, str]:
        """Return leaf, colour and pattern that the feed names of a product."""
        vocabulary, colours = self._read_words()
        names = colours.find(product["colours"])
        colour = base_colour(names[0]) if len(names) == 1 else ""
        values = {
            "leaf": product["category"],
            "colour": colour,
            "pattern": find_pattern(product["title"]),
        }
        return {n: v for n, v in values.items() if v and v in vocabulary.attributes[n]}

    def _second_queue(self, history: LabelHistory, labeller: str) -> list[LabelPicture]:
        """Return the pictures that one other person has labelled, in the order of their labels."""
        queue = []
        for image_id, by_person in history.by_picture.items():
            others = self._others(history, image_id, labeller)
            is_open = len(others) == 1 or (others and labeller in by_person)
            size_bytes = content_cache.image_size_bytes(self._settings.data_dir, image_id)
            if is_open and size_bytes is not None:
                queue.append(others[0].picture)
        return queue

    @staticmethod
    def _others(history: LabelHistory, image_id: str, labeller: str) -> list[PictureLabel]:
        """Return what others than a person have labelled of a picture."""
        return [label for label in history.labels_of(image_id) if label.labeller != labeller]

    def _read_words(self) -> tuple[LabelVocabulary, ColourNames]:
        """Read the words of the deployment's mappings once; those it lacks from wearalike's own."""
        with self._lock:
            if self._words is None:
                own = self._settings.mappings
                files = [
                    own / name if (own / name).is_file() else packaged_mapping_path(name)
                    for name in ("taxonomy.xml", "colours.xml")
                ]
                leaves = read_taxonomy(files[0]).leaves
                colours = read_colour_names(files[1])
                vocabulary = LabelVocabulary(
                    {one.name: str(one.super_category) for one in GARMENT_CLASSES},
                    {
                        "leaf": {leaf.id: f"{leaf.en} · {leaf.ru}" for leaf in leaves.values()},
                        "colour": {name: look or "" for name, look in colours.hex_by_id.items()},
                        "pattern": dict.fromkeys(PATTERN_NAMES, ""),
                    },
                    {leaf.id: str(leaf.super_category) for leaf in leaves.values()},
                )
                self._words = (vocabulary, colours)
            return self._words

    def _open_warehouse(self) -> Warehouse:
        return open_warehouse(self._settings.warehouse)
