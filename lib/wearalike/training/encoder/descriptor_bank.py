"""Descriptors of views with what is known of their products: all that the code heads learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import COMPOUND_LABELS
from wearalike.training.encoder.descriptor_cache import ViewDescriptors
from wearalike.training.encoder.training_pictures import (
    COLOUR_LABELS,
    TYPE_LABEL,
    TrainingPicture,
)

# A class with fewer products teaches nothing.
MIN_PRODUCTS_PER_CLASS = 3
# Views with the item's own colours, the clean one last.
_VIEWS_BY_CHANGES = (2, 1, 0)
# With two classes (gender) a contrastive loss would pull shoes towards shirts.
_NOT_CONTRASTED = ("gender",)


@dataclass(frozen=True, slots=True)
class LabelTask:
    """One classification task.

    Attributes:
        name: "set:label". Every set is a task of its own: two shops may mean different things.
        labels: int64 (p,). Class of each product; -1 where it has no label.
        classes_count: Number of classes.
        is_colour: The colour code learns the task, else the shape code does.
        is_contrasted: Products of one class are drawn together, beside being classified.
    """

    name: str
    labels: NDArray[np.int64]
    classes_count: int
    is_colour: bool
    is_contrasted: bool


@dataclass(frozen=True, slots=True)
class DescriptorBank:
    """Descriptors of v views of p products.

    Attributes:
        descriptors: float16 (v, d).
        product: int64 (v,). Product of each view.
        view: int64 (v,). Number of the view.
        is_true: bool (v,). The view has the item's own colours.
        article_of_product: int64 (p,). Products of one article are siblings.
        kind_of_product: int64 (p,). Products of one set and type are of one kind.
        product_keys: The product's key, as TrainingPicture has it.
        tasks: Classification tasks.
    """

    descriptors: NDArray[np.float16]
    product: NDArray[np.int64]
    view: NDArray[np.int64]
    is_true: NDArray[np.bool_]
    article_of_product: NDArray[np.int64]
    kind_of_product: NDArray[np.int64]
    product_keys: tuple[str, ...]
    tasks: tuple[LabelTask, ...]


def build_bank(pictures: Sequence[TrainingPicture], views: ViewDescriptors) -> DescriptorBank:
    """Join descriptors of views with the labels of their pictures.

    Args:
        pictures: The pictures.
        views: Descriptors of their views.

    Returns:
        The bank. A product's labels are those of its first picture that has them.

    Raises:
        ValueError: Fewer than two products have a view.
    """
    products: dict[str, int] = {}
    first: list[TrainingPicture] = []
    labels: list[dict[str, str]] = []
    product_of_picture = np.empty(len(pictures), np.int64)
    described = set(np.unique(views.picture).tolist())
    for i, picture in enumerate(pictures):
        if i not in described:
            continue
        number = products.setdefault(picture.product, len(products))
        product_of_picture[i] = number
        if number == len(first):
            first.append(picture)
            labels.append({})
        labels[number] = {**picture.labels, **labels[number]}
    if len(first) < 2:
        raise ValueError(f"nothing to learn: {len(first)} products in split 'train' can be seen")
    sources = [picture.source for picture in first]
    types = [known.get(TYPE_LABEL, "") for known in labels]
    kinds = [f"{source}:{type_}" for source, type_ in zip(sources, types, strict=True)]
    return DescriptorBank(
        views.descriptors,
        product_of_picture[views.picture],
        views.view,
        views.is_true,
        _number([picture.article for picture in first]),
        _number(kinds),
        tuple(products),
        tuple(_build_tasks(sources, labels)),
    )


def clean_rows(bank: DescriptorBank) -> NDArray[np.int64]:
    """Return a row of each product: its first picture's clean view, else one on another ground.

    Args:
        bank: The bank.

    Returns:
        int64 (p,).
    """
    rows = np.zeros(len(bank.product_keys), np.int64)
    rows[bank.product[::-1]] = np.arange(len(bank.product))[::-1]
    for view in _VIEWS_BY_CHANGES:
        # The first picture of a product goes last, and so counts.
        of_view = np.flatnonzero(bank.view == view)[::-1]
        rows[bank.product[of_view]] = of_view
    return rows


def _number(keys: Sequence[str]) -> NDArray[np.int64]:
    """Number keys in their order, int64 (n,)."""
    return np.unique(np.array(keys), return_inverse=True)[1].astype(np.int64)


def _build_tasks(sources: Sequence[str], labels: Sequence[dict[str, str]]) -> list[LabelTask]:
    """Return a task for every label of every set that has two classes with enough products."""
    tasks = []
    names = sorted({name for known in labels for name in known} - set(COMPOUND_LABELS))
    for source in sorted(set(sources)):
        for name in names:
            words = np.array(
                [
                    known.get(name, "") if s == source else ""
                    for s, known in zip(sources, labels, strict=True)
                ]
            )
            classes, number, counts = np.unique(words, return_inverse=True, return_counts=True)
            is_learned = (classes != "") & (counts >= MIN_PRODUCTS_PER_CLASS)
            if is_learned.sum() < 2:
                continue
            class_ids = np.where(is_learned, np.cumsum(is_learned) - 1, -1)
            tasks.append(
                LabelTask(
                    f"{source}:{name}",
                    class_ids[number].astype(np.int64),
                    int(is_learned.sum()),
                    name in COLOUR_LABELS,
                    name not in _NOT_CONTRASTED,
                )
            )
    return tasks
