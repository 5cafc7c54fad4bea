"""Descriptors of the training views, kept on disk: the frozen describer sees every view once.

A shard is a file of a few hundred pictures. Its name holds a hash of all that it depends on. So a
training that stops goes on with its shards, and another training does not take them.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from wearalike.encoding import runtime
from wearalike.encoding.item_describer import ItemDescriber, TrunkMaps
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.storage import atomic
from wearalike.training.encoder.training_pictures import TrainingPicture
from wearalike.training.encoder.view_plan import DrawnView, ViewScenery, draw_views

log = logging.getLogger(__name__)

PICTURES_PER_SHARD = 200
# Part of a hash in a file's name, in characters.
_NAME_HASH_CHARS = 16


@dataclass(frozen=True, slots=True)
class ViewDescriptors:
    """Descriptors of the views of n pictures.

    Attributes:
        descriptors: float16 (v, d).
        picture: int64 (v,). Number of the picture of each view.
        view: int64 (v,). Number of the view, see view_plan.
        is_true: bool (v,). The view has the item's own colours.
    """

    descriptors: NDArray[np.float16]
    picture: NDArray[np.int64]
    view: NDArray[np.int64]
    is_true: NDArray[np.bool_]


class DescriberNet(nn.Module):
    """Pictures (n, 3, 224, 224) to the descriptors of their items."""

    def __init__(self, trunk: nn.Module, describer: ItemDescriber) -> None:
        super().__init__()
        self.trunk = trunk
        self.describer = describer

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the descriptors of a batch."""
        maps: TrunkMaps = self.trunk(pictures)
        return self.describer(pictures, maps)


def describe_pictures(
    network: DescriberNet,
    pictures: Sequence[TrainingPicture],
    scenery: ViewScenery,
    folder: Path,
    seed: int,
    device: str,
    numbers: Sequence[int],
    on_pictures: Callable[[int], None] = lambda count: None,
) -> ViewDescriptors:
    """Describe views of pictures, or read what an earlier call has described.

    Args:
        network: The frozen describer, in evaluation mode.
        pictures: The pictures.
        scenery: Figures and grounds of the views.
        folder: Folder of the shards.
        seed: Seed of the views.
        device: "cpu" or "cuda".
        numbers: Numbers of the views.
        on_pictures: Called with the number of further pictures that are done.

    Returns:
        The descriptors. A picture that cannot be read has none, and is counted in the log.

    Raises:
        BadModel: The describer returns numbers that are not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    basis = f"{weights_hash(network)} {seed} {list(numbers)} {_scenery_text(scenery)}"
    runner: runtime.InferenceRunner | None = None
    parts = []
    for start in range(0, len(pictures), PICTURES_PER_SHARD):
        chosen = pictures[start : start + PICTURES_PER_SHARD]
        path = folder / f"{_shard_hash(basis, chosen)}.npz"
        if not path.exists():
            if runner is None:
                runner = runtime.InferenceRunner("describer", network, EFFICIENTNET_LITE0, device)
            _write_shard(path, runner, chosen, scenery, seed, numbers)
        with np.load(path, allow_pickle=False) as shard:
            parts.append(
                ViewDescriptors(
                    shard["descriptors"], shard["picture"] + start, shard["view"], shard["is_true"]
                )
            )
        on_pictures(len(chosen))
    views = ViewDescriptors(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ViewDescriptors.__slots__
        )
    )
    described = len(np.unique(views.picture))
    if described < len(pictures):
        log.warning("%d of %d pictures cannot be read", len(pictures) - described, len(pictures))
    return views


def draw_all_views(
    pictures: Sequence[TrainingPicture],
    scenery: ViewScenery,
    seed: int,
    numbers: Sequence[int],
) -> list[list[DrawnView]]:
    """Draw views of pictures on all cores; an unreadable picture has none.

    A view depends on the seed and the picture's product, not on the pictures beside it.

    Args:
        pictures: The pictures.
        scenery: Figures and grounds.
        seed: Seed of all views.
        numbers: Numbers of the views.

    Returns:
        The views of each picture.
    """

    def draw(picture: TrainingPicture) -> list[DrawnView]:
        digest = hashlib.sha256(_picture_text(picture).encode()).digest()
        try:
            picture_seed = [seed, int.from_bytes(digest[:4], "big")]
            return draw_views(picture, scenery, picture_seed, numbers)
        except (OSError, ValueError) as error:
            log.warning("%s: no view: %s", picture.path or picture.product, error)
            return []

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
        return list(cores.map(draw, pictures))


def weights_hash(network: nn.Module) -> str:
    """Return a hash of all weights and buffers of a network, hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _write_shard(
    path: Path,
    runner: runtime.InferenceRunner,
    pictures: Sequence[TrainingPicture],
    scenery: ViewScenery,
    seed: int,
    numbers: Sequence[int],
) -> None:
    """Draw and describe the views of some pictures, and write them in one piece."""
    views = [
        (i, view)
        for i, of_picture in enumerate(draw_all_views(pictures, scenery, seed, numbers))
        for view in of_picture
    ]
    width = _descriptors_width(runner) if not views else None
    rows = runner([v.square for _, v in views]) if views else np.zeros((0, width or 0))
    with atomic.replace_file(path) as hidden, hidden.open("wb") as file:
        np.savez(
            file,
            descriptors=rows.astype(np.float16),
            picture=np.array([i for i, _ in views], np.int64),
            view=np.array([v.number for _, v in views], np.int64),
            is_true=np.array([v.has_true_colours for _, v in views], bool),
        )


def _descriptors_width(runner: runtime.InferenceRunner) -> int:
    """Return the number of descriptors, by describing a picture of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return runner([noise]).shape[1]


def _shard_hash(basis: str, pictures: Sequence[TrainingPicture]) -> str:
    texts = [basis, *(_picture_text(picture) for picture in pictures)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:_NAME_HASH_CHARS]


def _picture_text(picture: TrainingPicture) -> str:
    """Return a text that names a picture's file, box and how it may be worn."""
    name = picture.path.name if picture.path else ""
    return f"{picture.product} {name} {picture.box} {picture.garment} {picture.region}"


def _scenery_text(scenery: ViewScenery) -> str:
    figures = scenery.street.figures if scenery.street else ()
    digest = hashlib.sha256()
    for pixels in [*(figure.labels for figure in figures), *scenery.floors]:
        digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()
