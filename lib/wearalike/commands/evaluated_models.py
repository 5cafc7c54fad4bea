"""The models of an evaluation: its options, and loading the encoders and detectors they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wearalike.datasets import layouts
from wearalike.detection import detect
from wearalike.encoding.encoders import LeafEncoder
from wearalike.evaluation import evaluation_book
from wearalike.evaluation.compare_leaves import LeavesUnderTest
from wearalike.evaluation.descriptors import base
from wearalike.evaluation.descriptors.base import Descriptor
from wearalike.evaluation.detectors import (
    ClassAgnosticDetectorAdapter,
    DetectorUnderTest,
    GarmentDetectorAdapter,
)
from wearalike.models import registry
from wearalike.models.files import ModelKind
from wearalike.models.precision import BFLOAT16_MARK

PROMOTED = "promoted"
MODEL_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """One evaluation, as the command's options describe it.

    Attributes:
        data: kind and folder of each set of labelled photos.
        out: folder of the report.
        encoders: names of the encoders.
        detectors: names of the detectors.
        distances: names of distances; empty: each encoder's own.
        split: the split whose photos are the queries, or "all".
        baseline: the encoder that the others are compared with; None: the first.
        k: list lengths to measure at.
        crop_with: name of the detector that crops photos without a box.
        weights: files of networks that torch's cache lacks, by encoder.
        device: cpu or cuda.
        root: folder of all tables, where runs and the promoted models lie.
        max_queries: of more queries so many are drawn.
        strict_labels: refuse label files with any bad label.
        book: workbook that gains a tab for this evaluation; None for none.
        name: name of its tab; None: the name of `out`.
        leaf_classifiers: names of the leaf classifiers.
        mappings: folder of the taxonomy and of the words of labels.
    """

    data: tuple[tuple[str, Path], ...]
    out: Path
    encoders: tuple[str, ...]
    detectors: tuple[str, ...]
    distances: tuple[str, ...]
    split: str
    baseline: str | None
    k: tuple[int, ...]
    crop_with: str
    weights: tuple[tuple[str, Path], ...]
    device: str
    root: Path
    max_queries: int
    strict_labels: bool = False
    book: Path | None = None
    name: str | None = None
    leaf_classifiers: tuple[str, ...] = ()
    mappings: Path = Path("mappings")

    @property
    def tab_name(self) -> str:
        """Name of the evaluation's tab in the workbook of many."""
        return self.name or self.out.resolve().name[: evaluation_book.MAX_NAME_CHARS]

    def check(self) -> None:
        """Raise ValueError for options that do not fit together."""
        if self.book:
            evaluation_book.check_book(self.book, self.tab_name)
        names = " ".join(self.encoders)
        if self.baseline and self.baseline not in self.encoders:
            raise ValueError(f"--baseline {self.baseline}: not among --encoder {names}")
        unknown = sorted({name for name, _ in self.weights} - set(self.encoders))
        if unknown:
            raise ValueError(f"--weights {unknown[0]}: not among --encoder {names}")
        if min(self.k) < 1:
            raise ValueError(f"--k {min(self.k)}: wanted 1 or more")
        if self.max_queries < 1:
            raise ValueError(f"--max-queries {self.max_queries}: wanted 1 or more")
        unboxed = [kind for kind, _ in self.data if kind in (layouts.PAIRS, layouts.RUN)]
        if self.detectors and unboxed:
            raise ValueError(
                f"--data {unboxed[0]}=: detectors are not measured on it: its boxes name no class, "
                "or a detector drew them"
            )


def load_encoders(run: EvaluationRun) -> list[Descriptor]:
    """Return the encoders, the baseline first.

    Args:
        run: the evaluation's options.

    Returns:
        Each encoder once.

    Raises:
        ValueError: two different models have one version.
    """
    names = list(dict.fromkeys([*([run.baseline] if run.baseline else []), *run.encoders]))
    weights = dict(run.weights)
    loaded = []
    for name in names:
        source = name
        if (own := name.removesuffix(BFLOAT16_MARK)) == PROMOTED:
            path = registry.resolve_model(run.root, ModelKind.ENCODER).path
            source = f"{path}{name.removeprefix(own)}"
        loaded.append(base.load_descriptor(source, run.device, weights.get(source)))
    return unique_models(loaded)


def load_detectors(run: EvaluationRun) -> list[DetectorUnderTest]:
    """Return the detectors, each once.

    Args:
        run: the evaluation's options.

    Returns:
        The detectors, in the order of the options.

    Raises:
        ValueError: two different models have one version.
    """
    return unique_models([load_detector(run, name) for name in dict.fromkeys(run.detectors)])


def load_detector(run: EvaluationRun, name: str) -> DetectorUnderTest:
    """Return a detector as the evaluation uses it.

    Args:
        run: the evaluation's options.
        name: promoted, a model file, or a detector's name.

    Returns:
        The detector.
    """
    pipeline_detector = load_pipeline_detector(run, name)
    if not isinstance(pipeline_detector, detect.NetworkDetector):
        return ClassAgnosticDetectorAdapter(pipeline_detector)
    path = Path(name)
    if not name.endswith(MODEL_SUFFIX):
        path = registry.resolve_model(run.root, ModelKind.DETECTOR, _explicit_name(name)).path
    return GarmentDetectorAdapter(registry.read_model(path), run.device)


def load_leaf_classifiers(run: EvaluationRun) -> list[LeavesUnderTest]:
    """Return the leaf classifiers, each once, beside the first of the encoders.

    Args:
        run: the evaluation's options.

    Returns:
        The classifiers, in the order of the options.

    Raises:
        BadModel: there is no such model, or it was taught with another encoder.
    """
    if not run.leaf_classifiers:
        return []
    encoder = _read_model(run, ModelKind.ENCODER, next(iter(run.encoders), PROMOTED))
    loaded = []
    for name in dict.fromkeys(run.leaf_classifiers):
        model = _read_model(run, ModelKind.LEAVES, name)
        both = LeafEncoder(encoder, model, run.device)
        loaded.append(LeavesUnderTest(model.version, model.sha256, both))
    return unique_models(loaded)


def _read_model(run: EvaluationRun, kind: ModelKind, name: str) -> registry.Model:
    """Return the promoted model of a kind, or one by its name or file. Raises BadModel."""
    if name == PROMOTED:
        return registry.resolve_model(run.root, kind).read()
    return registry.load_by_name(kind, name)


def load_pipeline_detector(run: EvaluationRun, name: str) -> detect.Detector:
    """Return a detector as a run uses it.

    Args:
        run: the evaluation's options.
        name: promoted, a model file, or a detector's name.

    Returns:
        The detector.
    """
    if name.endswith(MODEL_SUFFIX):
        return detect.NetworkDetector(registry.read_model(Path(name)), run.device)
    return detect.load_detector(run.root, _explicit_name(name), run.device)


def _explicit_name(name: str) -> str | None:
    """Return None for the promoted model, else the name."""
    return None if name == PROMOTED else name


def unique_models(loaded: Sequence[Any]) -> list[Any]:
    """Return each model once.

    Args:
        loaded: models with version and sha256.

    Returns:
        The models, the first of each version.

    Raises:
        ValueError: two different models have one version.
    """
    by_version: dict[str, Any] = {}
    for model in loaded:
        first = by_version.setdefault(model.version, model)
        if first.sha256 != model.sha256:
            raise ValueError(
                f"two models of version {model.version}, "
                f"of sha256 {first.sha256} and {model.sha256}"
            )
    return list(by_version.values())
