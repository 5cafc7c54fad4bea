"""A YOLO segmentation network of nano width on EfficientNet-Lite0, and the second look that may stand behind it.

Neck and head are Ultralytics' own modules (AGPL-3.0), and so are the losses. ultralytics is imported here alone, when it is
used, and it neither writes to HOME nor asks the network.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from wearalike.detection.networks import box_head
from wearalike.detection.networks.backbone import CHANNELS, STRIDES, Still, Trunk, scaled
from wearalike.detection.networks.base import SECOND, Sight, Targets, filled
from wearalike.models import registry
from wearalike.models.files import Model

# It looks at larger squares than it learned on: things in training, zoomed in, look larger than they are (Touvron et al., Fixing
# the train-test resolution discrepancy, NeurIPS 2019).
SIDE_PX, LEARNED_PX = 416, 320
_WIDTHS = (64, 128, 128)
_MASKS, _MASK_WIDTH, _BINS = 16, 32, 8
# Gains of the losses of boxes (and masks), classes and box borders: Ultralytics' defaults.
_GAINS = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, overlap_mask=True)
_GPU_BATCH = 32
# So sure must the first look be of anything at all.
_WORTH_A_LOOK = 0.03


class GarmentYolo(nn.Module):
    """float32 (n, 3, side, side), -1..1, side a multiple of 32 -> seven tensors, of each of `a` places: how far its box reaches
    (n, 4 * 8, a), left, top, right and down, as logits over 0..7 cells; its classes (n, c, a), logits; the weights of its mask
    (n, 16, a); what they weigh, (n, 16, side / 4, side / 4); and for a second look the neck's maps at an eighth (n, 64, ..) and a
    thirty-second (n, 128, ..), and the trunk's last (n, 320, ..)."""

    def __init__(self, classes_count: int) -> None:
        super().__init__()
        with quiet():
            from ultralytics.nn.modules import SPPF, C3k2, Conv, Segment

        eighth, sixteenth, thirtysecond = CHANNELS
        small, medium, large = _WIDTHS
        self.trunk = Trunk()
        self.pool = SPPF(thirtysecond, large)
        self.down4 = C3k2(large + sixteenth, medium, 1, False)
        self.down3 = C3k2(medium + eighth, small, 1, False)
        self.step4 = Conv(small, small, 3, 2)
        self.up4 = C3k2(small + medium, medium, 1, False)
        self.step5 = Conv(medium, medium, 3, 2)
        self.up5 = C3k2(medium + large, large, 1, True)
        self.head = Segment(classes_count, _MASKS, _MASK_WIDTH, _BINS, False, _WIDTHS)
        self.head.stride = torch.tensor(STRIDES, dtype=torch.float32)
        self.head.bias_init()

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        maps = self.trunk(pictures)
        levels = self.neck(*maps)
        raw = self.raw(levels, with_masks=True)
        return (
            raw["boxes"],
            raw["scores"],
            raw["mask_coefficient"],
            raw["proto"],
            levels[0],
            levels[2],
            maps[2],
        )

    def raw(self, levels: list[Tensor], with_masks: bool) -> dict[str, Any]:
        """The head's predictions, as Ultralytics' losses take them, from the neck's maps."""
        heads = self.head.one2many if with_masks else self.head.one2many | {"mask_head": None}
        raw = self.head.forward_head(levels, **heads)
        return raw | {"proto": self.head.proto(levels[0])} if with_masks else raw

    def neck(self, eighth: Tensor, sixteenth: Tensor, thirtysecond: Tensor) -> list[Tensor]:
        c5 = self.pool(thirtysecond)
        c4 = self.down4(torch.cat([_twice(c5), sixteenth], dim=1))
        p3 = self.down3(torch.cat([_twice(c4), eighth], dim=1))
        p4 = self.up4(torch.cat([self.step4(p3), c4], dim=1))
        p5 = self.up5(torch.cat([self.step5(p4), c5], dim=1))
        return [p3, p4, p5]


def new_second_look(classes_count: int) -> box_head.SecondLook:
    """The head of a second look at what this network sees, which knows nothing yet."""
    return box_head.SecondLook(
        box_head.features_count((_WIDTHS[0], _WIDTHS[2]), CHANNELS[2]), classes_count
    )


@dataclass(frozen=True, slots=True)
class Glance:
    """What the network makes of one square. reach, logits, weights, planes: its numbers (GarmentYolo, without n). features: gives
    what stands inside boxes, float64 (n, 4) in px of the square, as second_look.read does."""

    reach: NDArray[np.float32]
    logits: NDArray[np.float32]
    weights: NDArray[np.float32]
    planes: NDArray[np.float32]
    features: Callable[[NDArray[np.float64]], Tensor]


class Yolo:
    """Looks with a network (detectors.Seer): on a CPU compiled, a square at a time, one a core; on a GPU in batches of one size,
    the last one filled up, for float sums depend on it. Where the model holds a second look, its classes are that one's."""

    side_px = SIDE_PX

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """Raises BadModel where the tensors do not fit."""
        first = {n: a for n, a in model.arrays.items() if not n.startswith(SECOND)}
        again = {n.removeprefix(SECOND): a for n, a in model.arrays.items() if n.startswith(SECOND)}
        network = filled(GarmentYolo(len(model.classes)), replace(model, arrays=first))
        self._second = (
            filled(new_second_look(len(model.classes)), replace(model, arrays=again))
            if again
            else None
        )
        self._batch = _GPU_BATCH if device == "cuda" else 1
        self._threads = 1 if device == "cuda" else len(os.sched_getaffinity(0))
        shape = (1, 3, SIDE_PX, SIDE_PX)
        self._network = (
            _on_gpu(network)
            if device == "cuda"
            else registry.compile_network(network, shape, self._threads)
        )
        self._version = model.version

    def sights(self, squares: NDArray[np.uint8], least_confidence: float) -> list[Sight]:
        return [self._sight(glance, least_confidence) for glance in self.glances(squares)]

    def glances(self, squares: NDArray[np.uint8]) -> Iterator[Glance]:
        """What the network makes of each square of uint8 (n, side, side, 3). Raises BadModel where it gives what is no number."""
        for start in range(0, len(squares), self._batch):
            here = squares[start : start + self._batch]
            batch = np.zeros((self._batch, *squares.shape[1:]), np.uint8)
            batch[: len(here)] = here
            outputs = self._network(scaled(batch))
            if not all(np.isfinite(o).all() for o in outputs):
                raise registry.BadModel(f"detector {self._version}: it gives what is no number")
            for i in range(len(here)):
                reach, logits, weights, planes, *maps = (o[i] for o in outputs)
                fine, coarse, top = (torch.from_numpy(m)[None] for m in maps)
                yield Glance(
                    reach,
                    logits,
                    weights,
                    planes,
                    partial(box_head.read, fine, coarse, top, side_px=SIDE_PX),
                )

    def _sight(self, glance: Glance, least_confidence: float) -> Sight:
        if self._second is None:
            return decode(glance, least_confidence)
        places, corners = things(glance)
        if not len(places):
            return _sight(glance, places, places, np.zeros(0))
        with torch.inference_mode():
            second = self._second(glance.features(corners)).double().softmax(dim=1).numpy()
        sure = box_head.agreed(_confidences(glance.logits[:, places].T), second)
        rows, classes = np.nonzero(sure > least_confidence)
        return _sight(glance, places[rows], classes, sure[rows, classes])


def decode(glance: Glance, least_confidence: float) -> Sight:
    """What the network's numbers of one square mean. A place may be of several classes."""
    classes, places = np.nonzero(glance.logits > _logit(least_confidence))
    return _sight(glance, places, classes, _confidences(glance.logits[classes, places]))


def things(glance: Glance) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where a second look is worth while: places, int64 (n,), that show different things, whatever these are, and their boxes,
    float64 (n, 4) in px of the square."""
    surest = glance.logits.max(axis=0)
    places = np.flatnonzero(surest > _logit(_WORTH_A_LOOK))
    corners = _corners(glance, places)
    kept = box_head.apart(corners, _confidences(surest[places]))
    return places[kept], corners[kept]


def _corners(glance: Glance, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """The boxes of places, float64 (n, 4) in px of the square.

    How far a box reaches is the mean of its distribution over cells (Li et al., Generalized Focal Loss, NeurIPS 2020).
    """
    bins = glance.reach.reshape(4, _BINS, -1)[:, :, places].astype(np.float64)
    shares = np.exp(bins - bins.max(axis=1, keepdims=True))
    cells = (shares * np.arange(_BINS)[:, None]).sum(axis=1) / shares.sum(axis=1)
    centre, stride = _places(glance.planes.shape[1] * 4)
    return np.tile(centre[places], 2) + np.array([-1, -1, 1, 1]) * cells.T * stride[places, None]


def _sight(
    glance: Glance,
    places: NDArray[np.int64],
    classes: NDArray[np.int64],
    confidences: NDArray[np.float64],
) -> Sight:
    """What stands at places, a class and a confidence each."""

    def mask_logits(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.einsum("nk,khw->nhw", glance.weights.T[places[rows]], glance.planes)

    return Sight(_corners(glance, places), classes.astype(np.int64), confidences, mask_logits)


def _logit(confidence: float) -> float:
    return float(np.log(confidence / (1 - confidence)))


def _confidences(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def _places(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle of every place, float64 (a, 2) x y in px of the square, and its stride, float64 (a,)."""
    grids = [
        np.stack(np.meshgrid(*[np.arange(side // s) + 0.5] * 2), axis=-1).reshape(-1, 2) * s
        for s in STRIDES
    ]
    return np.concatenate(grids), np.repeat(np.array(STRIDES, np.float64), [len(g) for g in grids])


class Learner:
    """Trains a network (detectors.Learner)."""

    side_px = LEARNED_PX

    def __init__(self, classes_count: int, device: str) -> None:
        with quiet():
            from ultralytics.utils.loss import v8DetectionLoss, v8SegmentationLoss

        self.network = GarmentYolo(classes_count)
        self.network.trunk.know_imagenet()
        self.network.to(device).to(memory_format=torch.channels_last)
        self.trunk = self.network.trunk.learning()
        self.heads = [
            p for name, p in self.network.named_parameters() if not name.startswith("trunk.")
        ]
        self.seen = Still(self.network.trunk, device)
        of = SimpleNamespace(
            args=_GAINS, model=[self.network.head], parameters=self.network.head.parameters
        )
        self._losses = {
            False: v8DetectionLoss(cast(nn.Module, of)),
            True: v8SegmentationLoss(cast(nn.Module, of)),
        }
        self._device = device

    def losses(
        self, seen: tuple[Tensor, ...], targets: Targets, with_masks: bool
    ) -> dict[str, Tensor]:
        eighth, *upper = seen
        maps = (eighth, *upper) if upper else self.network.trunk.upper(eighth)
        network = self.network.train()
        raw = network.raw(network.neck(*maps), with_masks)
        raw = {
            name: [m.float() for m in v] if isinstance(v, list) else v.float()
            for name, v in raw.items()
        }
        x0, y0, x1, y1 = torch.from_numpy(targets.boxes / targets.items.shape[1]).float().T
        labels = {
            "batch_idx": torch.from_numpy(targets.scene_ids),
            "cls": torch.from_numpy(targets.classes).float(),
            "bboxes": torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=1),
            "masks": torch.from_numpy(targets.items[:, 2::4, 2::4].copy()),
        }
        found, _ = self._losses[with_masks].loss(
            raw, {n: t.to(self._device) for n, t in labels.items()}
        )
        names = ("box", "mask", "class", "border") if with_masks else ("box", "class", "border")
        return {name: value / len(targets.items) for name, value in zip(names, found, strict=False)}


def _twice(maps: Tensor) -> Tensor:
    return functional.interpolate(maps, scale_factor=2.0, mode="nearest")


def _on_gpu(network: nn.Module) -> Any:
    there = network.to("cuda").to(memory_format=torch.channels_last)

    def forward(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            return [
                o.cpu().numpy()
                for o in there(
                    torch.from_numpy(batch).to("cuda").contiguous(memory_format=torch.channels_last)
                )
            ]

    return forward


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """For the import of ultralytics: it asks no server whether there is a network, installs nothing, its settings go to a folder
    that is gone afterwards, and what it puts in place of other libraries' functions (one asks for a package where bytes are no
    picture) is taken back."""
    opened, saved = Image.open, torch.save
    with tempfile.TemporaryDirectory() as folder:
        switches = {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
        wanted = {**switches, "YOLO_CONFIG_DIR": folder, "MPLCONFIGDIR": folder}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            Image.open, torch.save = opened, saved
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
