"""Descriptors without training: colours, contours, corners, local features, a perceptual hash.

A crop's row does not depend on any other crop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wearalike.evaluation.strangers import TrainingSets
from wearalike.imaging import decode
from wearalike.models.files import BadModel, Model, check_shapes

Crop = NDArray[np.uint8]
# Numbers of one of SIFT's local features.
_SIFT_WIDTH = 128


class ColourHistogram:
    """Share of the pixels in each of 12 hues x 4 saturations x 4 values.

    Rows are float32 (n, 192), and a row sums to 1.
    """

    version = "hsv-1"
    sha256: str | None = None
    distances: tuple[str, ...] = ("hellinger",)
    trained_on = TrainingSets()
    _bins = (12, 4, 4)

    def describe(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        """Describe crops; see Descriptor."""
        return _describe_each(self._describe_one, crops, int(np.prod(self._bins)))

    def _describe_one(self, crop: Crop) -> NDArray[np.float32]:
        # Pillow scales hue, too, to 0..255.
        hsv = np.asarray(Image.fromarray(crop).convert("HSV")).reshape(-1, 3).astype(np.int64)
        cells = np.ravel_multi_index(tuple((hsv * self._bins // 256).T), self._bins)
        counts = np.bincount(cells, minlength=int(np.prod(self._bins)))
        return (counts / len(cells)).astype(np.float32)


class HogDescriptor:
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005).

    A square of 128 px has 8 x 8 cells of nine directions each, normalized in blocks of 2 x 2. Rows
    are float32 (n, 1764).
    """

    version = "contour-1"
    sha256: str | None = None
    distances: tuple[str, ...] = ("cosine", "euclidean")
    trained_on = TrainingSets()
    _side_px = 128
    _cells = 8
    _directions = 9
    # Largest share of one direction in a normalized block (the paper's clipping).
    _max_block_share = 0.2

    def describe(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        """Describe crops; see Descriptor."""
        width = (self._cells - 1) ** 2 * 4 * self._directions
        return _describe_each(self._describe_one, crops, width)

    def _describe_one(self, crop: Crop) -> NDArray[np.float32]:
        grey = np.pad(_to_grey(decode.letterbox(crop, self._side_px)), 1, mode="edge")
        gx, gy = _sobel_gradients(grey)
        # A direction has no sign; each gradient is shared by the two nearest directions.
        position = (np.arctan2(gy, gx) % np.pi) / np.pi * self._directions - 0.5
        lower = np.floor(position).astype(np.int64)
        strength = np.hypot(gx, gy)
        upper_share = position - lower
        y, x = np.indices(gx.shape) // (self._side_px // self._cells)
        histograms = np.zeros((self._cells, self._cells, self._directions))
        directions = self._directions
        np.add.at(histograms, (y, x, lower % directions), strength * (1 - upper_share))
        np.add.at(histograms, (y, x, (lower + 1) % directions), strength * upper_share)
        windows = np.lib.stride_tricks.sliding_window_view(histograms, (2, 2), axis=(0, 1))
        blocks = windows.reshape((self._cells - 1) ** 2, -1)
        for _ in range(2):
            lengths = np.linalg.norm(blocks, axis=1, keepdims=True)
            blocks = np.minimum(blocks / (lengths + 1e-6), self._max_block_share)
        return blocks.ravel().astype(np.float32)


class PerceptualHash:
    """64 bits of low frequencies, uint8 (n, 8).

    A bit tells if one of the lowest 8 x 8 frequencies of the crop, grey and 32 x 32 px, lies above
    their median. (Discrete cosine transform; Zauner, "Implementation and Benchmarking of Perceptual
    Image Hash Functions", 2010.)
    """

    version = "phash-1"
    sha256: str | None = None
    distances: tuple[str, ...] = ("hamming",)
    trained_on = TrainingSets()
    _side_px = 32
    _frequencies = 8

    def describe(self, crops: Sequence[Crop]) -> NDArray[np.uint8]:
        """Describe crops; see Descriptor."""
        n = np.arange(self._side_px)
        waves = np.cos(np.pi / self._side_px * (n + 0.5) * n[: self._frequencies, None])

        def low_frequencies(crop: Crop) -> NDArray[np.float32]:
            grey = _to_grey(decode.letterbox(crop, self._side_px))
            return (waves @ grey @ waves.T).ravel()

        rows = _describe_each(low_frequencies, crops, self._frequencies**2)
        # The first frequency is the mean light, far above all others.
        medians = np.median(rows[:, 1:], axis=1, keepdims=True)
        return np.packbits(rows > medians, axis=1)


class CornerCounts:
    """Corners in each of 4 x 4 cells (Harris and Stephens, Alvey 1988), float32 (n, 16).

    A corner is the strongest response among its neighbours, above a hundredth of the crop's
    strongest.
    """

    version = "corners-1"
    sha256: str | None = None
    distances: tuple[str, ...] = ("manhattan", "euclidean", "cosine")
    trained_on = TrainingSets()
    _side_px = 128
    _cells = 4
    _window_px = 5
    # The papers' usual weight of the squared trace, and the least share of the strongest response.
    _trace_weight = 0.04
    _min_share = 0.01

    def describe(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        """Describe crops; see Descriptor."""
        return _describe_each(self._describe_one, crops, self._cells**2)

    def _describe_one(self, crop: Crop) -> NDArray[np.float32]:
        grey = np.pad(_to_grey(decode.letterbox(crop, self._side_px)), 1, mode="edge")
        gx, gy = (gradient.astype(np.float64) for gradient in _sobel_gradients(grey))
        xx, yy, xy = (self._reduce(np.add, one) for one in (gx * gx, gy * gy, gx * gy))
        response = xx * yy - xy * xy - self._trace_weight * (xx + yy) ** 2
        strongest = self._reduce(np.maximum, response)
        is_corner = (response == strongest) & (response > self._min_share * response.max())
        is_corner &= response > 0
        side = self._side_px // self._cells
        cells = is_corner.reshape(self._cells, side, self._cells, side)
        return cells.sum(axis=(1, 3)).ravel().astype(np.float32)

    def _reduce(self, combine: np.ufunc, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Combine the square around each value, first down and then across."""
        for axis in (0, 1):
            width = [(self._window_px // 2,) * 2 if at == axis else (0, 0) for at in (0, 1)]
            padded = np.pad(values, width, mode="edge")
            window = np.lib.stride_tricks.sliding_window_view(padded, self._window_px, axis)
            values = combine.reduce(window, axis=2)
        return values


class SiftBagOfWords:
    """Share of each of 256 visual words among a crop's local features. Needs opencv.

    The features are SIFT (Lowe, 2004; RootSIFT: Arandjelović and Zisserman, 2012). Each counts as
    the nearest of the words that `fit` found by k-means. Rows are float32 (n, 256), and a row sums
    to 1.
    """

    architecture = "sift-bag-1"
    distances: tuple[str, ...] = ("hellinger", "cosine")
    trained_on = TrainingSets()
    _words_count = 256
    _side_px = 224
    _max_features_per_crop = 300
    _max_fit_features = 60_000
    _fit_iterations = 20

    def __init__(self) -> None:
        """Load opencv.

        Raises:
            BadModel: opencv is not installed.
        """
        try:
            import cv2
        except ImportError as error:
            raise BadModel(
                "encoder sift-bag needs opencv: install the package opencv-python-headless"
            ) from error
        self.version = self.architecture
        self.sha256: str | None = None
        self._cv2 = cv2
        self._sift = cv2.SIFT_create(self._max_features_per_crop)  # type: ignore[attr-defined]
        self._vocabulary: NDArray[np.float32] | None = None

    @property
    def is_fitted(self) -> bool:
        """True if it is ready to describe."""
        return self._vocabulary is not None

    def fit(self, crops: Sequence[Crop]) -> None:
        """Find the visual words.

        Args:
            crops: uint8 (height, width, 3) each.

        Raises:
            BadModel: The crops have fewer local features than words are wanted.
        """
        features = np.concatenate([self._local_features(crop) for crop in crops])
        if len(features) < self._words_count:
            raise BadModel(
                f"sift-bag: {len(features)} local features in {len(crops)} crops, "
                f"wanted at least {self._words_count}"
            )
        order = np.random.default_rng(0).permutation(len(features))
        sample = features[order[: self._max_fit_features]]
        self._cv2.setRNGSeed(0)
        criteria = (self._cv2.TERM_CRITERIA_MAX_ITER, self._fit_iterations, 0.0)
        _, _, words = self._cv2.kmeans(  # type: ignore[call-overload]
            sample, self._words_count, None, criteria, 1, self._cv2.KMEANS_PP_CENTERS
        )
        self._vocabulary = words

    def export_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the visual words by name; see TrainableDescriptor."""
        return {"vocabulary": self._fitted_vocabulary()}

    def import_model(self, model: Model) -> None:
        """Take visual words and version from a model file; see TrainableDescriptor."""
        check_shapes(model, {"vocabulary": (self._words_count, _SIFT_WIDTH)})
        self._vocabulary = model.arrays["vocabulary"]
        self.version, self.sha256 = model.version, model.sha256

    def describe(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        """Describe crops; see Descriptor."""
        return _describe_each(self._describe_one, crops, self._words_count)

    def _describe_one(self, crop: Crop) -> NDArray[np.float32]:
        words = self._fitted_vocabulary()
        features = self._local_features(crop)
        if not len(features):
            return np.full(self._words_count, 1 / self._words_count, np.float32)
        nearest = ((words**2).sum(axis=1) - 2 * features @ words.T).argmin(axis=1)
        counts = np.bincount(nearest, minlength=self._words_count)
        return (counts / len(features)).astype(np.float32)

    def _fitted_vocabulary(self) -> NDArray[np.float32]:
        """Return the visual words. Raises BadModel before `fit`."""
        if self._vocabulary is None:
            raise BadModel("sift-bag: no vocabulary yet, call fit first")
        return self._vocabulary

    def _local_features(self, crop: Crop) -> NDArray[np.float32]:
        """Return the local features, float32 (f, 128), unit rows."""
        grey = _to_grey(decode.letterbox(crop, self._side_px)).astype(np.uint8)
        _, features = self._sift.detectAndCompute(grey, None)
        if features is None:
            return np.empty((0, _SIFT_WIDTH), np.float32)
        sums = np.maximum(features.sum(axis=1, keepdims=True), 1e-6)
        return np.sqrt(features / sums).astype(np.float32)


def _sobel_gradients(
    grey: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the gradients across and down, without the outermost pixels."""
    across = grey[:, 2:] - grey[:, :-2]
    down = grey[2:] - grey[:-2]
    gx = across[:-2] + 2 * across[1:-1] + across[2:]
    gy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return gx, gy


def _to_grey(rgb: Crop) -> NDArray[np.float32]:
    """Return the luma, float32 (height, width), 0..255."""
    return np.asarray(Image.fromarray(rgb).convert("L"), np.float32)


def _describe_each(
    describe_one: Callable[[Crop], NDArray[np.float32]], crops: Sequence[Crop], width: int
) -> NDArray[np.float32]:
    """Return the rows of crops described one by one; (0, width) without crops."""
    return np.array([describe_one(crop) for crop in crops], np.float32).reshape(-1, width)
