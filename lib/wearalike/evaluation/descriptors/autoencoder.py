"""A convolutional autoencoder: trained to draw its own small input again through a narrow middle.

The middle is the descriptor. It needs no labels and no public weights. It learns how images look,
not what is worn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wearalike.encoding import runtime
from wearalike.evaluation.strangers import TrainingSets
from wearalike.imaging import decode
from wearalike.models.files import BadModel, Model, check_shapes
from wearalike.models.registry import BackboneSpec

if TYPE_CHECKING:
    import torch

    Halves = tuple[torch.nn.Sequential, torch.nn.Sequential]

# Side of the input in px.
_SIDE_PX = 64
# Channels of the layers: four halvings lead to 4 x 4 places of 16 numbers.
_CHANNELS = (3, 16, 32, 64, 16)
_MIDDLE_SIDE = 4
_BATCH_SIZE = 64
_LEARNING_RATE = 1e-3
_HALF_NAMES = ("encoder", "decoder")


class Autoencoder:
    """Descriptor of float32 (n, 256). `fit` trains it, and `save` writes a safetensors file."""

    architecture = "autoencoder-1"
    distances: tuple[str, ...] = ("cosine", "euclidean", "manhattan")
    # It is fitted on pictures of the very set, or by somebody on others.
    trained_on = TrainingSets(is_complete=False)

    def __init__(
        self, device: str = "cpu", weights: Path | None = None, steps: int = 600, seed: int = 0
    ) -> None:
        """Prepare an autoencoder.

        Args:
            device: "cpu" or "cuda".
            weights: File that `save` wrote; the autoencoder is fitted then.
            steps: Steps of the training.
            seed: Seed of the training.

        Raises:
            BadModel: The weights are missing or do not fit.
        """
        self.version = f"{self.architecture}-{steps}-{seed}"
        self.sha256: str | None = None
        self._device = device
        self._steps = steps
        self._seed = seed
        self._halves: Halves | None = None
        if weights:
            self.sha256, self._halves = _read_weights(weights)
            self.version = f"{self.architecture}-{self.sha256[:8]}"
        self._forward: runtime.InferenceRunner | None = None

    @property
    def is_fitted(self) -> bool:
        """True if it is ready to describe."""
        return self._halves is not None

    def fit(self, crops: Sequence[NDArray[np.uint8]]) -> None:
        """Train on crops; the same crops, seed and machine give the same network.

        Args:
            crops: uint8 (height, width, 3) each.
        """
        import torch
        from torch.nn import functional

        torch.manual_seed(self._seed)
        squares = np.stack([decode.letterbox(crop, _SIDE_PX) for crop in crops])
        images = torch.from_numpy(squares).permute(0, 3, 1, 2)
        encoder, decoder = (half.to(self._device).train() for half in _build_halves())
        parameters = [*encoder.parameters(), *decoder.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
        rng = np.random.default_rng(self._seed)
        for _ in range(self._steps):
            rows = torch.from_numpy(rng.integers(0, len(crops), _BATCH_SIZE))
            batch = images[rows].to(self._device).float() / 127.5 - 1
            loss = functional.mse_loss(decoder(encoder(batch)), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self._halves = encoder.cpu().eval(), decoder.cpu().eval()
        self._forward = None

    def describe(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Describe crops; see Descriptor.

        Args:
            crops: uint8 (height, width, 3) each.

        Returns:
            float32 (n, 256).

        Raises:
            BadModel: The autoencoder is not fitted.
        """
        if self._forward is None:
            encoder, _ = self._fitted_halves()
            inputs = BackboneSpec(
                self.version, "autoencoder", "", "", "", "", _SIDE_PX, 0.5, 0.5, 0
            )
            self._forward = runtime.InferenceRunner(self.version, encoder, inputs, self._device)
        return self._forward(crops)

    def reconstruct(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return the crops as the autoencoder draws them.

        Args:
            crops: uint8 (height, width, 3) each.

        Returns:
            uint8 (n, 64, 64, 3).

        Raises:
            BadModel: The autoencoder is not fitted.
        """
        import torch

        encoder, decoder = self._fitted_halves()
        squares = np.stack([decode.letterbox(crop, _SIDE_PX) for crop in crops])
        with torch.inference_mode():
            batch = torch.from_numpy(squares).permute(0, 3, 1, 2).float() / 127.5 - 1
            drawn = decoder(encoder(batch))
        return ((drawn.permute(0, 2, 3, 1) + 1) * 127.5).clamp(0, 255).byte().numpy()

    def save(self, path: Path) -> None:
        """Write the weights.

        Args:
            path: safetensors file to write.

        Raises:
            BadModel: The autoencoder is not fitted.
        """
        from safetensors.torch import save_file

        if self._halves is None:
            raise BadModel("autoencoder: not trained yet, nothing to save")
        metadata = {"kind": "descriptor", "architecture": "autoencoder", "version": self.version}
        save_file(_named_tensors(self._halves), path, metadata=metadata)

    def export_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights by name; see TrainableDescriptor."""
        state = _named_tensors(self._fitted_halves())
        return {name: tensor.numpy() for name, tensor in state.items()}

    def import_model(self, model: Model) -> None:
        """Take weights and version from a model file; see TrainableDescriptor."""
        import torch

        halves = _build_halves()
        check_shapes(model, {name: tuple(t.shape) for name, t in _named_tensors(halves).items()})
        for name, half in zip(_HALF_NAMES, halves, strict=True):
            half.load_state_dict(
                {key: torch.from_numpy(model.arrays[f"{name}.{key}"]) for key in half.state_dict()}
            )
        encoder, decoder = halves
        self._halves, self._forward = (encoder.eval(), decoder.eval()), None
        self.version, self.sha256 = model.version, model.sha256

    def _fitted_halves(self) -> Halves:
        """Return encoder and decoder. Raises BadModel before `fit`."""
        if self._halves is None:
            raise BadModel("autoencoder: not trained yet, call fit first or give its weights")
        return self._halves


def _named_tensors(halves: Halves) -> dict[str, torch.Tensor]:
    """Return the tensors of both halves by name."""
    return {
        f"{name}.{key}": tensor
        for name, half in zip(_HALF_NAMES, halves, strict=True)
        for key, tensor in half.state_dict().items()
    }


def _build_halves() -> Halves:
    """Return encoder and decoder, untrained."""
    from torch import nn

    down: list[nn.Module] = []
    up: list[nn.Module] = []
    for outer, inner in pairwise(_CHANNELS):
        down += [nn.Conv2d(outer, inner, 4, 2, 1), nn.ReLU()]
        up = [nn.ReLU(), nn.ConvTranspose2d(inner, outer, 4, 2, 1), *up]
    # The middle may be negative, so no ReLU touches it on either side.
    middle_shape = (_CHANNELS[-1], _MIDDLE_SIDE, _MIDDLE_SIDE)
    encoder = nn.Sequential(*down[:-1], nn.Flatten())
    return encoder, nn.Sequential(nn.Unflatten(1, middle_shape), *up[1:])


def _read_weights(path: Path) -> tuple[str, Halves]:
    """Return hash and network of a file that `save` wrote."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise BadModel(f"{path}: no such weights")
    content = path.read_bytes()
    halves = _build_halves()
    try:
        state = load(content)
        for name, half in zip(_HALF_NAMES, halves, strict=True):
            prefix = f"{name}."
            own = {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}
            half.load_state_dict(own)
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise BadModel(f"{path}: not an autoencoder's weights: {reason}") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise BadModel(f"{path}: weights that are no numbers")
    encoder, decoder = halves
    return hashlib.sha256(content).hexdigest(), (encoder.eval(), decoder.eval())
