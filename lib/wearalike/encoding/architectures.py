"""The architectures of encoders, by the names that model files hold.

They are apart from the networks, whose modules import torch.
"""

from __future__ import annotations

HASHNET = "efficientnet-lite0-hash"
LIKENESS = "efficientnet-lite0-likeness"
LIKENESS_SUFFIX = "-likeness"


def is_likeness(architecture: str) -> bool:
    """Return whether an architecture is that of a likeness encoder, whatever its trunk.

    Args:
        architecture: Architecture of a model file.
    """
    return architecture.endswith(LIKENESS_SUFFIX)
