"""Model files: numbers by name and what they are the state of; read from strangers without trusting them.

A model file is a safetensors file, which holds nothing that could run, and says in its metadata (texts by name) what it is:

    kind          encoder or detector
    architecture  the network its tensors are the state of, by the name our code has for it
    version       e.g. fashion-2: part of every code or item made with it
    card          JSON: data, recipe, seed, date, measures
    classes       JSON list of texts; detectors only
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

VERSION_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Ten times the largest backbone that anybody would run every night on a CPU; the header of such a file has some 100 KB.
MAX_MODEL_BYTES = 400_000_000
MAX_HEADER_BYTES = 2_000_000
_MAX_DIMENSIONS = 8
_DTYPES = {"F16": "<f2", "F32": "<f4"}


class BadModel(ValueError):
    """Weights that are not the ones we know, a file that is no model of ours, or a model that gives what is no number."""


class ModelKind(StrEnum):
    ENCODER = "encoder"
    DETECTOR = "detector"


@dataclass(frozen=True, slots=True)
class Model:
    """What a model file holds. card: as its maker wrote it. arrays: float32, all finite, by name. classes: of a detector.
    sha256: of the file."""

    kind: ModelKind
    architecture: str
    version: str
    card: Mapping[str, Any]
    arrays: Mapping[str, NDArray[np.float32]]
    classes: tuple[str, ...]
    sha256: str


def read_model(path: Path, sha256: str | None = None) -> Model:
    """The model in a file. sha256: what the file must hash to, if given.

    Nothing in the file is executed, and no more memory is used than a few times MAX_MODEL_BYTES, whatever its header claims.
    Raises BadModel where it is not whole, not safetensors, or not what the text at the head of this module describes.
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
            f"{path}: {likely}: a header of {header_bytes:,} bytes, wanted at most {MAX_HEADER_BYTES:,}"
        )
    try:
        # Checks that the tensors lie side by side and fill the file; JSON nested deeper than 127 is refused.
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
    """The sha256 of a file's bytes, hex."""
    return hashlib.sha256(content).hexdigest()


def _read_limited(path: Path) -> bytes:
    # Asked before it is opened: opening a pipe would wait for ever.
    if not path.is_file():
        raise BadModel(f"{path}: no such file")
    with path.open("rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_MODEL_BYTES:
            raise BadModel(f"{path}: {size:,} bytes, wanted at most {MAX_MODEL_BYTES:,}")
        return file.read(MAX_MODEL_BYTES)


def _parse_metadata(
    metadata: Mapping[str, str],
) -> tuple[ModelKind, str, str, dict[str, Any], tuple[str, ...]]:
    """Kind, architecture, version, card and classes of a file's metadata. Raises BadModel."""
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
            raise BadModel(
                f"{name}: wanted {VERSION_PATTERN.pattern}, got {_short_repr(metadata[name])}"
            )
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
            f"classes: wanted a JSON list of distinct printable texts, got {_short_repr(metadata['classes'])}"
        )
    if (kind is ModelKind.DETECTOR) != bool(classes):
        raise BadModel(
            f"classes: {'a detector must name some' if kind is ModelKind.DETECTOR else 'an encoder has none'}"
        )
    return kind, metadata["architecture"], metadata["version"], card, tuple(classes)


def _parse_json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadModel(f"{name}: not JSON: {str(error)[:200]}") from error


def _short_repr(value: object) -> str:
    """How a value from a file that may be hostile is shown."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _parse_tensor(name: str, dtype: str, shape: list[int], data: bytearray) -> NDArray[np.float32]:
    if dtype not in _DTYPES:
        raise BadModel(f"tensor {_short_repr(name)}: {dtype}, wanted {' or '.join(_DTYPES)}")
    if len(shape) > _MAX_DIMENSIONS or not data:
        raise BadModel(
            f"tensor {_short_repr(name)}: shape {_short_repr(shape)}, wanted at most {_MAX_DIMENSIONS} dimensions and none of 0"
        )
    array = np.frombuffer(data, _DTYPES[dtype]).astype(np.float32).reshape(shape)
    if not np.isfinite(array).all():
        raise BadModel(
            f"tensor {_short_repr(name)}: {np.count_nonzero(~np.isfinite(array)):,} of {array.size:,} numbers are not finite"
        )
    return array


def check_shapes(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Checks that a model's tensors are exactly those its architecture wants: shapes by name. Raises BadModel."""
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
            f"{model.kind} {model.version}: its tensors do not fit {model.architecture}: {', '.join(wrong[:3])}{more}"
        )


def model_bytes(
    kind: ModelKind,
    architecture: str,
    version: str,
    card: Mapping[str, Any],
    arrays: Mapping[str, NDArray[np.floating]],
    classes: Sequence[str] = (),
) -> bytes:
    """A model file, as `read_model` reads it; the same bytes for the same model. arrays: float16 or float32 by name.

    Raises BadModel where `read_model` would.
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
                f"tensor {name}: {array.dtype} {array.shape}, wanted float16 or float32, some, and finite"
            )
    content = save({n: np.ascontiguousarray(a) for n, a in arrays.items()}, metadata=metadata)
    # The library writes the metadata in an order of its own each time.
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(
        json.loads(content[8:start]), sort_keys=True, separators=(",", ":")
    ).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[start:]
