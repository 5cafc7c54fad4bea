"""Model files: named arrays with metadata, read without trusting their origin.

A model file is a safetensors file, which holds nothing that could run. Its metadata (texts by name)
says what it is:

    kind          encoder, detector, leaves or descriptor
    architecture  name of the network whose state the tensors are
    version       e.g. fashion-2; it is part of every code or item made with the model
    card          JSON: data, recipe, seed, date, measures
    classes       JSON list of texts; of detectors and leaves alone
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The pattern in words, for messages.
VERSION_WORDS = "at most 64 small letters, digits, '.', '_' or '-', e.g. mine-2"
VERSION_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Ten times the largest backbone that is worth a nightly run on a CPU. Its header has some 100 KB.
MAX_MODEL_BYTES = 400_000_000
MAX_HEADER_BYTES = 2_000_000
_MAX_DIMENSIONS = 8
_DTYPES = {"F16": "<f2", "F32": "<f4"}


class BadModel(ValueError):
    """A file that is no model of ours, or not the pinned one, or whose output is not finite."""


class ModelKind(StrEnum):
    """The kinds of models."""

    ENCODER = "encoder"
    DETECTOR = "detector"
    LEAVES = "leaves"  # tells the leaf of what an encoder describes
    DESCRIPTOR = "descriptor"  # fitted on a run's items, for comparisons

    @property
    def article(self) -> str:
        """The kind with its article, for messages."""
        named = {"encoder": "an encoder", "leaves": "a leaf classifier"}
        return named.get(self, f"a {self.value}")

    @property
    def has_classes(self) -> bool:
        """True if a model of the kind names classes."""
        return self in (ModelKind.DETECTOR, ModelKind.LEAVES)


@dataclass(frozen=True, slots=True)
class Model:
    """The content of a model file.

    Attributes:
        kind: Its kind.
        architecture: Name of the network.
        version: Name and version of the model.
        card: Data, recipe, seed, date and figures, as its maker wrote them.
        arrays: float32, all finite, by name.
        classes: A detector's classes, or the kinds of leaves; empty for other kinds.
        sha256: Hash of the file, hexadecimal.
    """

    kind: ModelKind
    architecture: str
    version: str
    card: Mapping[str, Any]
    arrays: Mapping[str, NDArray[np.float32]]
    classes: tuple[str, ...]
    sha256: str


def read_model(path: Path, sha256: str | None = None) -> Model:
    """Read a model file.

    Nothing in the file is executed. Memory stays below a few times MAX_MODEL_BYTES, even if the
    header claims more.

    Args:
        path: The file.
        sha256: Hash that the file must have, hexadecimal; None accepts any.

    Raises:
        BadModel: The file is not whole, no safetensors file, or its metadata is not as above.
    """
    from safetensors import SafetensorError, deserialize

    content = _read_limited(path)
    found = sha256_hex(content)
    if sha256 is not None and found != sha256:
        raise BadModel(f"{path}: sha256 {found}, wanted {sha256}")
    header_bytes = int.from_bytes(content[:8], "little")
    if header_bytes > MAX_HEADER_BYTES:
        likely = (
            "a pickle or a zip, as PyTorch writes them"
            if content[:1] == b"\x80" or content[:2] == b"PK"
            else "no safetensors file"
        )
        raise BadModel(
            f"{path}: {likely}: a header of {header_bytes:,} bytes, "
            f"wanted at most {MAX_HEADER_BYTES:,}"
        )
    try:
        # Checks that the tensors lie side by side and fill the file. JSON nested deeper than 127
        # is refused.
        tensors = deserialize(content)
        metadata = json.loads(content[8 : 8 + header_bytes]).get("__metadata__") or {}
    except (SafetensorError, ValueError) as error:
        raise BadModel(f"{path}: no safetensors file: {str(error)[:200]}") from error
    try:
        kind, architecture, version, card, classes = _parse_metadata(metadata)
        arrays = {name: _parse_tensor(name, **tensor) for name, tensor in tensors}
    except BadModel as error:
        raise BadModel(f"{path}: {error}") from error
    return Model(kind, architecture, version, card, arrays, classes, found)


def sha256_hex(content: bytes) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _read_limited(path: Path) -> bytes:
    # Checked before opening: to open a pipe would wait for ever.
    if not path.is_file():
        raise BadModel(f"{path}: no such file")
    with path.open("rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_MODEL_BYTES:
            raise BadModel(f"{path}: {size:,} bytes, wanted at most {MAX_MODEL_BYTES:,}")
        return file.read(MAX_MODEL_BYTES)


def _parse_metadata(
    metadata: Mapping[str, str],
) -> tuple[ModelKind, str, str, dict[str, Any], tuple[str, ...]]:
    """Return kind, architecture, version, card and classes of metadata. Raises BadModel."""
    if missing := [
        name for name in ("kind", "architecture", "version", "card") if name not in metadata
    ]:
        raise BadModel(f"its metadata has no {missing[0]}; it has {_short_repr(sorted(metadata))}")
    if metadata["kind"] not in tuple(ModelKind):
        raise BadModel(
            f"kind: wanted {' or '.join(ModelKind)}, got {_short_repr(metadata['kind'])}"
        )
    for name in ("architecture", "version"):
        if not VERSION_PATTERN.fullmatch(metadata[name]):
            raise BadModel(f"{name}: wanted {VERSION_WORDS}, got {_short_repr(metadata[name])}")
    kind = ModelKind(metadata["kind"])
    card, classes = (
        _parse_json("card", metadata["card"]),
        _parse_json("classes", metadata.get("classes", "[]")),
    )
    if not isinstance(card, dict):
        raise BadModel(f"card: wanted a JSON object, got {_short_repr(metadata['card'])}")
    if not (
        isinstance(classes, list)
        and all(isinstance(c, str) and c and c.isprintable() for c in classes)
        and len(set(classes)) == len(classes)
    ):
        raise BadModel(
            "classes: wanted a JSON list of distinct printable texts, "
            f"got {_short_repr(metadata['classes'])}"
        )
    if kind.has_classes != bool(classes):
        wanted = "must name some" if kind.has_classes else "has none"
        raise BadModel(f"classes: {kind.article} {wanted}")
    return kind, metadata["architecture"], metadata["version"], card, tuple(classes)


def _parse_json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadModel(f"{name}: not JSON: {str(error)[:200]}") from error


def _short_repr(value: object) -> str:
    """Return a value from a possibly hostile file for a message, at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _parse_tensor(name: str, dtype: str, shape: list[int], data: bytearray) -> NDArray[np.float32]:
    if dtype not in _DTYPES:
        raise BadModel(f"tensor {_short_repr(name)}: {dtype}, wanted {' or '.join(_DTYPES)}")
    if len(shape) > _MAX_DIMENSIONS or not data:
        raise BadModel(
            f"tensor {_short_repr(name)}: shape {_short_repr(shape)}, "
            f"wanted at most {_MAX_DIMENSIONS} dimensions and none of 0"
        )
    array = np.frombuffer(data, _DTYPES[dtype]).astype(np.float32).reshape(shape)
    if not np.isfinite(array).all():
        raise BadModel(
            f"tensor {_short_repr(name)}: {np.count_nonzero(~np.isfinite(array)):,} "
            f"of {array.size:,} numbers are not finite"
        )
    return array


def check_shapes(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that a model has exactly the tensors of its architecture.

    Args:
        model: The model.
        shapes: Shape of each tensor by name.

    Raises:
        BadModel: A tensor is missing, unknown, or of another shape.
    """
    found = {name: array.shape for name, array in model.arrays.items()}
    wrong = [
        *(f"{n} is missing" for n in shapes if n not in found),
        *(f"{_short_repr(n)} is not of it" for n in found if n not in shapes),
        *(
            f"{n} is {found[n]}, wanted {tuple(shapes[n])}"
            for n in shapes
            if n in found and found[n] != tuple(shapes[n])
        ),
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise BadModel(
            f"{model.kind} {model.version}: its tensors do not fit {model.architecture}: "
            f"{', '.join(wrong[:3])}{more}"
        )


def model_bytes(
    kind: ModelKind,
    architecture: str,
    version: str,
    card: Mapping[str, Any],
    arrays: Mapping[str, NDArray[np.floating]],
    classes: Sequence[str] = (),
) -> bytes:
    """Return the bytes of a model file, the same for the same model.

    Args:
        kind: Its kind.
        architecture: Name of the network.
        version: Name and version of the model.
        card: Data, recipe, seed, date and figures.
        arrays: float16 or float32, finite, by name.
        classes: A detector's classes, or the kinds of leaves; other kinds have none.

    Raises:
        BadModel: `read_model` would refuse the file.
    """
    from safetensors.numpy import save

    metadata = {
        "kind": str(kind),
        "architecture": architecture,
        "version": version,
        "card": json.dumps(card, sort_keys=True),
    }
    if classes:
        metadata["classes"] = json.dumps(list(classes))
    _parse_metadata(metadata)
    for name, array in arrays.items():
        if (
            array.dtype not in (np.float16, np.float32)
            or not array.size
            or not np.isfinite(array).all()
        ):
            raise BadModel(
                f"tensor {name}: {array.dtype} {array.shape}, "
                "wanted float16 or float32, some, and finite"
            )
    content = save({n: np.ascontiguousarray(a) for n, a in arrays.items()}, metadata=metadata)
    # The library writes the metadata in a random order, so the header is written again, sorted.
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(
        json.loads(content[8:start]), sort_keys=True, separators=(",", ":")
    ).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[start:]
