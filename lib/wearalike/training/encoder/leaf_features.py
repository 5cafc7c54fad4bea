"""Descriptors of the pictures that a leaf classifier learns from, kept between trainings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wearalike.detection import detect
from wearalike.encoding import likeness_net, runtime
from wearalike.encoding.describer_hash import hash_describer
from wearalike.encoding.descriptor_layout import DescriptorLayout
from wearalike.models.files import Model
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.storage import atomic
from wearalike.training.encoder.leaf_examples import LeafPhoto, iterate_crops

# Raise it when crops or descriptors change: kept ones are then made anew.
_FORMAT = 1
_NAME_CHARS = 16
# Photos in a file: a stopped training goes on from the last one.
_PHOTOS_PER_FILE = 1024


@dataclass(frozen=True, slots=True)
class LeafFeatures:
    """Descriptors of the crops of a list of photos.

    Attributes:
        rows: float16 (n, d). The descriptors that the leaf head reads.
        photo_rows: int64 (n,). Which photo each crop shows.
        is_item: bool (n,). True for the box of the item, False for what stands out.
    """

    rows: NDArray[np.float16]
    photo_rows: NDArray[np.int64]
    is_item: NDArray[np.bool_]

    def take(self, chosen: Sequence[bool]) -> LeafFeatures:
        """Return some of the crops."""
        kept = np.array(chosen, bool)
        return LeafFeatures(self.rows[kept], self.photo_rows[kept], self.is_item[kept])


@dataclass(frozen=True, slots=True)
class PreparedDescriber:
    """The describer of an encoder, ready to run.

    Attributes:
        version: Its hash.
        layout: Where its descriptors lie.
        runner: From crops to float32 (n, d), the descriptors that a leaf head reads.
    """

    version: str
    layout: DescriptorLayout
    runner: runtime.InferenceRunner

    @property
    def inputs_count(self) -> int:
        """Number of descriptors that a leaf head reads."""
        return self.layout.leaf_columns.stop - self.layout.leaf_columns.start


def prepare_describer(encoder: Model, device: str) -> PreparedDescriber:
    """Prepare the describer of a likeness encoder.

    Args:
        encoder: The encoder.
        device: "cpu" or "cuda".

    Raises:
        BadModel: The arrays do not fit.
    """
    arrays = likeness_net.drop_view_arrays(encoder.arrays)
    network = likeness_net.load_likeness_net(arrays, encoder.architecture)
    runner = runtime.InferenceRunner("leaves", _InputDescriber(network), EFFICIENTNET_LITE0, device)
    return PreparedDescriber(hash_describer(encoder.arrays), network.layout, runner)


class LeafFeatureReader:
    """Describes photos by an encoder, and keeps the results in a folder."""

    def __init__(
        self,
        describe: PreparedDescriber,
        detector: detect.Detector,
        folder: Path,
    ) -> None:
        """Take the network.

        Args:
            describe: The encoder's describer.
            detector: Finds the items of photos without a labelled box.
            folder: Where descriptors are kept.
        """
        self._describe = describe.runner
        self._inputs_count = describe.inputs_count
        self._version = describe.version
        self._detector = detector
        self._folder = folder

    def read(
        self, photos: Sequence[LeafPhoto], on_photos: Callable[[int], None] = lambda count: None
    ) -> LeafFeatures:
        """Return the descriptors of photos.

        Args:
            photos: The photos of one set.
            on_photos: Called with the number of further photos that were described.

        Raises:
            ValueError: A photo cannot be read.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        parts = []
        for start in range(0, len(photos), _PHOTOS_PER_FILE):
            block = photos[start : start + _PHOTOS_PER_FILE]
            path = self._folder / f"leaves-{self._signature(block)[:_NAME_CHARS]}.npz"
            if path.exists():
                on_photos(len(block))
            else:
                made = self._describe_photos(block, on_photos)
                with atomic.replace_file(path) as hidden, hidden.open("wb") as file:
                    np.savez(file, rows=made.rows, photo_rows=made.photo_rows, is_item=made.is_item)
            with np.load(path, allow_pickle=False) as kept:
                parts.append(
                    LeafFeatures(kept["rows"], kept["photo_rows"] + start, kept["is_item"])
                )
        if not parts:
            nothing = np.empty(0, np.int64)
            return LeafFeatures(np.empty((0, self._inputs_count), np.float16), nothing, nothing > 0)
        return LeafFeatures(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.photo_rows for part in parts]),
            np.concatenate([part.is_item for part in parts]),
        )

    def _signature(self, photos: Sequence[LeafPhoto]) -> str:
        """Return a hash of all that the descriptors depend on."""
        facts = [
            [
                one.photo.id,
                hashlib.sha256(one.photo.path.read_bytes()).hexdigest(),
                one.photo.box,
                one.leaf.super_category,
            ]
            for one in photos
        ]
        content = json.dumps([_FORMAT, self._version, self._detector.version, facts])
        return hashlib.sha256(content.encode()).hexdigest()

    def _describe_photos(
        self, photos: Sequence[LeafPhoto], on_photos: Callable[[int], None]
    ) -> LeafFeatures:
        """Describe the crops of photos."""
        rows: list[NDArray[np.float16]] = [np.empty((0, self._inputs_count), np.float16)]
        photo_rows: list[int] = []
        is_item: list[bool] = []
        for crops in iterate_crops(photos, self._detector, on_photos):
            rows.append(self._describe([crop.rgb for crop in crops]).astype(np.float16))
            photo_rows += [crop.photo_row for crop in crops]
            is_item += [crop.is_item for crop in crops]
        return LeafFeatures(
            np.concatenate(rows), np.array(photo_rows, np.int64), np.array(is_item, bool)
        )


class _InputDescriber(nn.Module):
    """From pictures to the descriptors that a leaf head reads."""

    def __init__(self, network: likeness_net.LikenessNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        descriptors: torch.Tensor = self.network.describe(pictures)
        return descriptors[:, self.network.layout.leaf_columns]
