"""The hash by which a leaf classifier knows the encoder that it was taught with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wearalike.models.files import Model

# Name of the describer's hash in a leaf classifier's card.
DESCRIBER_KEY = "describer"
# Arrays that descriptors depend on; a trunk is there only if it is not ImageNet's.
_PREFIXES = ("describer.", "trunk.")


def hash_describer(arrays: Mapping[str, NDArray[np.floating]]) -> str:
    """Return the hash of all that the descriptors of a likeness encoder depend on, hexadecimal.

    Encoders whose code heads alone differ have one hash.

    Args:
        arrays: The arrays of the encoder's file by name.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if name.startswith(_PREFIXES):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(arrays[name], np.float32).tobytes())
    return digest.hexdigest()


def fits_encoder(leaves: Model, encoder: Model) -> bool:
    """Return whether a leaf classifier was taught with an encoder's descriptors."""
    return leaves.card.get(DESCRIBER_KEY) == hash_describer(encoder.arrays)
