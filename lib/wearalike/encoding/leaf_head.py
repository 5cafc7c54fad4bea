"""The head that tells leaves: one layer on the descriptors of the likeness encoder.

Its classes are kinds (`catalog.kinds`), which leaves of several audiences share. A model file of
kind `leaves` has the arrays `mean`, `scale`, `weight` and `bias`. Its card names the hash of the
describer that it was taught with: on other descriptors it would guess.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wearalike.encoding.descriptor_layout import LITE0_LAYOUT
from wearalike.encoding.likeness_net import LikenessNet
from wearalike.models.files import BadModel, Model, check_shapes

ARCHITECTURE = "likeness-leaves"
# Number of descriptors that the head reads of the packaged trunk; another trunk has others.
LEAF_INPUTS = LITE0_LAYOUT.leaf_columns.stop - LITE0_LAYOUT.leaf_columns.start
# Standardized descriptors are cut at so many standard deviations.
_MAX_DEVIATIONS = 5.0


class LeafHead(nn.Module):
    """Descriptors to a logit of each kind, calibrated: softmax gives probabilities.

    Input: float32 (n, inputs), the `leaf_columns` of a layout. Output: float32 (n, kinds).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, kinds_count: int, inputs_count: int = LEAF_INPUTS) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs_count))
        self.register_buffer("scale", torch.ones(inputs_count))
        self.linear = nn.Linear(inputs_count, kinds_count)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the columns that the head reads."""
        logits: Tensor = self.linear(self.standardize(inputs))
        return logits

    def standardize(self, inputs: Tensor) -> Tensor:
        """Return inputs in standard deviations from their mean, cut at 5."""
        deviations = (inputs - self.mean) / self.scale
        return deviations.clamp(-_MAX_DEVIATIONS, _MAX_DEVIATIONS)


class LikenessNetWithLeaves(nn.Module):
    """Pictures to the logits of codes and view, then of each kind, in one pass."""

    def __init__(self, network: LikenessNet, head: LeafHead) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the logits of a batch of pictures."""
        descriptors = self.network.describe(pictures)
        kinds = self.head(descriptors[:, self.network.layout.leaf_columns])
        return torch.cat([self.network.forward_heads(descriptors), kinds], dim=1)


def load_leaf_head(model: Model, inputs_count: int = LEAF_INPUTS) -> LeafHead:
    """Load the head of a model file, in evaluation mode.

    Args:
        model: A model of kind leaves.
        inputs_count: Number of descriptors that it reads of its encoder.

    Raises:
        BadModel: Its architecture or its arrays are not this head's.
    """
    if model.architecture != ARCHITECTURE:
        raise BadModel(
            f"{model.kind} {model.version}: architecture {model.architecture!r}, "
            f"wanted {ARCHITECTURE}"
        )
    count = len(model.classes)
    shapes = {
        "mean": (inputs_count,),
        "scale": (inputs_count,),
        "weight": (count, inputs_count),
        "bias": (count,),
    }
    check_shapes(model, shapes)
    if not (model.arrays["scale"] > 0).all():
        raise BadModel(f"{model.kind} {model.version}: scale: wanted all above 0")
    head = LeafHead(count, inputs_count)
    names = {"weight": "linear.weight", "bias": "linear.bias"}
    head.load_state_dict(
        {names.get(name, name): torch.from_numpy(array) for name, array in model.arrays.items()}
    )
    return head.eval()


def export_leaf_arrays(head: LeafHead, temperature: float) -> dict[str, NDArray[np.floating]]:
    """Return the arrays of a head for a model file, its logits divided by a temperature.

    Args:
        head: The head.
        temperature: Above 0; above 1 makes the probabilities less sure.
    """
    return {
        "mean": head.mean.numpy().astype(np.float32),
        "scale": head.scale.numpy().astype(np.float32),
        "weight": (head.linear.weight.detach() / temperature).numpy().astype(np.float16),
        "bias": (head.linear.bias.detach() / temperature).numpy().astype(np.float32),
    }
