"""Labelled pictures, and a detector that has learned -> the head of its second look (detectors.second_look).

What it learns from is what the network will show it: the boxes that the network sees in training pictures, each with the class of
the item it lies on, or "nothing"; the items' own boxes, a little displaced; and what the network sees where nobody stands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torchvision.ops import box_iou

from wearalike.detection.classes import CLASSES
from wearalike.detection.networks import yolo
from wearalike.detection.networks.base import SECOND
from wearalike.models.files import Model
from wearalike.training.detector import scenes
from wearalike.training.detector.dataset import Pictures
from wearalike.training.detector.scenes import Labelled, Packed, Variation

NOTHING = len(CLASSES)
# A box that overlaps an item as much is of its class, one that overlaps none as much shows nothing; what lies between says nothing.
_ON_IOU, _OFF_IOU = 0.5, 0.35
# Pictures in which every item is labelled: what the network sees beside them is nothing. Of the others only the first is known.
_COMPLETE = ("masks", "boxes", "plain")
_OFTEN = ("masks", "boxes")
_NEARLY = Variation(
    zoom_in=0.1, zoom_out=0.1, turn_degrees=2.0, shift_ratio=0.02, light=0.1, tint=0.03
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """steps, batch: how long, and how many boxes a step. rate: the highest learning rate (AdamW, up in a tenth of the steps, then a
    half cosine down to 0). views: of each picture with all its items labelled, the first as it is. displaced: boxes made of each
    labelled item, and how far they stray, a standard deviation in shares of its sides. scene_share: of the boxes learned from,
    those of pictures with all items labelled. smoothing: how much of a label is spread over all classes."""

    steps: int = 1500
    batch: int = 256
    rate: float = 1e-3
    weight_decay: float = 0.05
    views: int = 1
    displaced: int = 3
    stray_ratio: float = 0.06
    scene_share: float = 0.5
    smoothing: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Examples:
    """features: float16 (n, d), what second_look.read gives of a box. labels: int64 (n,), positions in CLASSES, NOTHING behind them.
    is_scene: bool (n,), from a picture of which every item is known."""

    features: NDArray[np.float16]
    labels: NDArray[np.int64]
    is_scene: NDArray[np.bool_]


def views_count(pictures: Pictures, recipe: Recipe) -> int:
    """At how many views of pictures `examples` looks."""
    return sum(1 for _ in _views(pictures, recipe))


def examples(
    model: Model, pictures: Pictures, recipe: Recipe, told: Callable[[], None], device: str = "cpu"
) -> Examples:
    """What a detector's network shows of prepared pictures (sources.prepare). told: called after each view. Raises ValueError where
    it shows nothing."""
    network, cores = yolo.Yolo(model, device), len(os.sched_getaffinity(0))
    found: list[tuple[NDArray[np.float16], NDArray[np.int64], bool]] = []
    # The network on a GPU takes one caller at a time.
    with ThreadPoolExecutor(cores if device == "cpu" else 1) as pool:
        for shown in pool.map(
            lambda view: _shown(network, view[0], view[1], recipe),
            enumerate(_views(pictures, recipe)),
        ):
            found.append(shown)
            told()
    if not found or not sum(len(labels) for _, labels, _ in found):
        raise ValueError("nothing to learn a second look from: no picture has an item")
    is_scene = np.repeat([often for _, _, often in found], [len(labels) for _, labels, _ in found])
    return Examples(
        np.concatenate([f for f, _, _ in found]),
        np.concatenate([labels for _, labels, _ in found]),
        is_scene,
    )


def _shown(
    network: yolo.Yolo, number: int, what: tuple[str, Packed, int], recipe: Recipe
) -> tuple[NDArray[np.float16], NDArray[np.int64], bool]:
    """What the network shows of one view: rows of Examples."""
    name, packed, view = what
    rng = np.random.default_rng([recipe.seed, number])
    made, is_complete = _view(packed, view, rng), name in _COMPLETE
    classes = made.classes
    if not is_complete:
        # Their first item is the one that their label names, unless the view has lost it.
        classes = classes[:1] if classes[:1].tolist() == [*packed.classes[:1]] else classes[:0]
    wanted = scenes.boxes(made.items, len(made.classes))[: len(classes)]
    (glance,) = network.glances(made.rgb[None])
    _, seen = yolo.things(glance)
    labels = _labels(seen, wanted, classes, is_complete)
    near = np.repeat(wanted, recipe.displaced, axis=0)
    near = near + rng.normal(0, recipe.stray_ratio, near.shape) * np.tile(
        near[:, 2:] - near[:, :2], 2
    )
    corners = np.concatenate([seen[labels >= 0], near])
    with torch.inference_mode():
        features = glance.features(corners).half().numpy()
    return (
        features,
        np.concatenate([labels[labels >= 0], np.repeat(classes, recipe.displaced)]),
        name in _OFTEN,
    )


def learn(
    given: Examples, recipe: Recipe, told: Callable[[int, dict[str, float]], None]
) -> dict[str, NDArray[np.float16]]:
    """The tensors of a second look, float16 by name, as a model file keeps them. told: called after each step with its number and
    its loss."""
    torch.manual_seed(recipe.seed)
    head = yolo.new_second_look(len(CLASSES))
    features, labels = torch.from_numpy(given.features), torch.from_numpy(given.labels)
    head.mean.copy_(torch.from_numpy(given.features.mean(axis=0, dtype=np.float64)))
    # Added, so that what hardly ever varies is not blown up.
    head.spread.copy_(
        torch.from_numpy(given.features.astype(np.float32).std(axis=0, dtype=np.float64) + 1e-2)
    )
    learning = [p for p in head.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=recipe.rate, weight_decay=recipe.weight_decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, recipe.steps, pct_start=0.1)
    chances = torch.from_numpy(_chances(given, recipe))
    for step in range(recipe.steps):
        rows = torch.multinomial(chances, recipe.batch, replacement=True)
        loss = functional.cross_entropy(
            head(features[rows].float()), labels[rows], label_smoothing=recipe.smoothing
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        told(step + 1, {"second look": loss.item()})
    return {
        f"{SECOND}{name}": t.detach().numpy().astype(np.float16)
        for name, t in head.state_dict().items()
    }


def _views(pictures: Pictures, recipe: Recipe) -> Iterator[tuple[str, Packed, int]]:
    for name, found in pictures.items():
        for view in range(-1, recipe.views) if name in _OFTEN else (0,):
            yield from ((name, packed, view) for packed in found)


def _view(packed: Packed, view: int, rng: np.random.Generator) -> Labelled:
    """A picture on the network's square: nearly as the night lays it, farther from that, or (-1) only ground where nobody stands."""
    if view < 0:
        return scenes.ground(packed.unpack(), yolo.SIDE_PX, rng)
    return scenes.moved(packed.unpack(), _NEARLY if view == 0 else Variation(), yolo.SIDE_PX, rng)


def _labels(
    seen: NDArray[np.float64],
    wanted: NDArray[np.float64],
    classes: NDArray[np.int64],
    is_complete: bool,
) -> NDArray[np.int64]:
    """The class of each box seen, int64 (n,), NOTHING where none is, -1 where nobody knows. wanted: boxes, float64 (m, 4), of items
    of `classes`, int64 (m,)."""
    if not len(wanted):
        return np.full(len(seen), NOTHING if is_complete else -1)
    overlaps = box_iou(torch.from_numpy(seen), torch.from_numpy(wanted)).numpy()
    most, nearest = overlaps.max(axis=1), overlaps.argmax(axis=1)
    is_off = (most < _OFF_IOU) & is_complete
    return np.where(most >= _ON_IOU, classes[nearest], np.where(is_off, NOTHING, -1))


def _chances(given: Examples, recipe: Recipe) -> NDArray[np.float64]:
    """How often each example is taken: a class as often as the square root of its number, scenes as often as the recipe says."""
    chances = scenes.balanced(given.labels.tolist())
    for is_scene, share in ((True, recipe.scene_share), (False, 1 - recipe.scene_share)):
        of = given.is_scene == is_scene
        if of.any():
            chances[of] *= share / chances[of].sum()
    return chances / chances.sum()
