"""Descriptors that nobody trained: colours, contours, local features, a perceptual hash. Each looks at a crop alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wearalike.imaging import decode
from wearalike.models.files import BadModel

Crop = NDArray[np.uint8]


class ColourHistogram:
    """How many pixels have each of 12 hues x 4 saturations x 4 values: float32 (n, 192), a row sums to 1."""

    version = "hsv-1"
    sha256: str | None = None
    distances: tuple[str, ...] = ("hellinger",)
    _bins = (12, 4, 4)

    def describe(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        return _describe_each(self._describe_one, crops, int(np.prod(self._bins)))

    def _describe_one(self, crop: Crop) -> NDArray[np.float32]:
        # Pillow scales hue, too, to 0..255.
        hsv = np.asarray(Image.fromarray(crop).convert("HSV")).reshape(-1, 3).astype(np.int64)
        cells = np.ravel_multi_index(tuple((hsv * self._bins // 256).T), self._bins)
        return (np.bincount(cells, minlength=int(np.prod(self._bins))) / len(cells)).astype(
            np.float32
        )


class HogDescriptor:
    """Which way edges run, and where: histograms of Sobel gradients over 8 x 8 cells of a square of 128 px, nine directions
    each, made even in blocks of 2 x 2 (Dalal and Triggs, CVPR 2005): float32 (n, 1764)."""

    version = "contour-1"
    sha256: str | None = None
    distances: tuple[str, ...] = ("cosine", "euclidean")
    _side_px, _cells, _directions = 128, 8, 9

    def describe(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        return _describe_each(
            self._describe_one, crops, (self._cells - 1) ** 2 * 4 * self._directions
        )

    def _describe_one(self, crop: Crop) -> NDArray[np.float32]:
        grey = np.pad(_to_grey(decode.letterbox(crop, self._side_px)), 1, mode="edge")
        across, down = grey[:, 2:] - grey[:, :-2], grey[2:] - grey[:-2]
        gx = across[:-2] + 2 * across[1:-1] + across[2:]
        gy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
        # A direction has no sign; each gradient is shared by the two nearest directions.
        place = (np.arctan2(gy, gx) % np.pi) / np.pi * self._directions - 0.5
        low = np.floor(place).astype(np.int64)
        strength, share = np.hypot(gx, gy), place - low
        size = self._side_px // self._cells
        y, x = np.indices(gx.shape) // size
        histograms = np.zeros((self._cells, self._cells, self._directions))
        np.add.at(histograms, (y, x, low % self._directions), strength * (1 - share))
        np.add.at(histograms, (y, x, (low + 1) % self._directions), strength * share)
        windows = np.lib.stride_tricks.sliding_window_view(histograms, (2, 2), axis=(0, 1))
        blocks = windows.reshape((self._cells - 1) ** 2, -1)
        for _ in range(2):
            blocks = np.minimum(
                blocks / (np.linalg.norm(blocks, axis=1, keepdims=True) + 1e-6), 0.2
            )
        return blocks.ravel().astype(np.float32)


class PerceptualHash:
    """64 bits: whether each of the lowest 8 x 8 frequencies of the crop, 32 x 32 px and grey, lies above their median.
    (Discrete cosine transform; Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010.)"""

    version = "phash-1"
    sha256: str | None = None
    distances: tuple[str, ...] = ("hamming",)
    _side_px, _low = 32, 8

    def describe(self, crops: Sequence[Crop]) -> NDArray[np.uint8]:
        n = np.arange(self._side_px)
        waves = np.cos(np.pi / self._side_px * (n + 0.5) * n[: self._low, None])
        low = _describe_each(
            lambda crop: (
                waves @ _to_grey(decode.letterbox(crop, self._side_px)) @ waves.T
            ).ravel(),
            crops,
            self._low**2,
        )
        # The first frequency is the mean light, far above all others.
        return np.packbits(low > np.median(low[:, 1:], axis=1, keepdims=True), axis=1)


class SiftBagOfWords:
    """How often each of 256 visual words is seen: SIFT features (Lowe, 2004; RootSIFT: Arandjelović and Zisserman, 2012), each
    counted as the nearest of the words that `fit` found by k-means: float32 (n, 256), a row sums to 1. Needs opencv."""

    version = "sift-bag-1"
    sha256: str | None = None
    distances: tuple[str, ...] = ("hellinger", "cosine")
    _words, _side_px, _features_each, _fit_most = 256, 224, 300, 60_000

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise BadModel(
                "encoder sift-bag needs opencv: install the package opencv-python-headless"
            ) from error
        self._cv2 = cv2
        self._sift = cv2.SIFT_create(self._features_each)  # type: ignore[attr-defined]
        self._vocabulary: NDArray[np.float32] | None = None

    @property
    def is_fitted(self) -> bool:
        return self._vocabulary is not None

    def fit(self, crops: Sequence[Crop]) -> None:
        """Finds the words. Raises BadModel where the crops have fewer local features than words are wanted."""
        seen = np.concatenate([self._local_features(crop) for crop in crops])
        if len(seen) < self._words:
            raise BadModel(
                f"sift-bag: {len(seen)} local features in {len(crops)} crops, wanted at least {self._words}"
            )
        some = np.random.default_rng(0).permutation(len(seen))[: self._fit_most]
        self._cv2.setRNGSeed(0)
        criteria = (self._cv2.TERM_CRITERIA_MAX_ITER, 20, 0.0)
        start = self._cv2.KMEANS_PP_CENTERS
        _, _, words = self._cv2.kmeans(seen[some], self._words, None, criteria, 1, start)  # type: ignore[call-overload]
        self._vocabulary = words

    def describe(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        return _describe_each(self._describe_one, crops, self._words)

    def _describe_one(self, crop: Crop) -> NDArray[np.float32]:
        if self._vocabulary is None:
            raise BadModel("sift-bag: no vocabulary yet, call fit first")
        words, seen = self._vocabulary, self._local_features(crop)
        if not len(seen):
            return np.full(self._words, 1 / self._words, np.float32)
        nearest = ((words**2).sum(axis=1) - 2 * seen @ words.T).argmin(axis=1)
        return (np.bincount(nearest, minlength=self._words) / len(seen)).astype(np.float32)

    def _local_features(self, crop: Crop) -> NDArray[np.float32]:
        """float32 (f, 128), unit rows."""
        grey = _to_grey(decode.letterbox(crop, self._side_px)).astype(np.uint8)
        found = self._sift.detectAndCompute(grey, None)[1]
        if found is None:
            return np.empty((0, 128), np.float32)
        return np.sqrt(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-6)).astype(
            np.float32
        )


def _to_grey(rgb: Crop) -> NDArray[np.float32]:
    """Luma, float32 (height, width), 0..255."""
    return np.asarray(Image.fromarray(rgb).convert("L"), np.float32)


def _describe_each(
    one: Callable[[Crop], NDArray[np.float32]], crops: Sequence[Crop], width: int
) -> NDArray[np.float32]:
    return np.array([one(crop) for crop in crops], np.float32).reshape(-1, width)
