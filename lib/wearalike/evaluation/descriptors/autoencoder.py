"""A convolutional autoencoder: trained to draw its own small picture again through a narrow middle, which is the descriptor.

It needs no labels and nobody's weights; what it learns is what pictures look like, not what is worn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wearalike.encoding import encoders
from wearalike.imaging import decode
from wearalike.models.files import BadModel
from wearalike.models.registry import BackboneSpec

if TYPE_CHECKING:
    import torch

_SIDE_PX = 64
# Halved four times to 4 x 4 places of 16 numbers.
_CHANNELS = (3, 16, 32, 64, 16)


class Autoencoder:
    """float32 (n, 256). `fit` trains it, `save` keeps it as safetensors, and such a file makes one that is fitted."""

    distances: tuple[str, ...] = ("cosine", "euclidean", "manhattan")

    def __init__(
        self, device: str = "cpu", weights: Path | None = None, steps: int = 600, seed: int = 0
    ) -> None:
        """device: "cpu" or "cuda". Raises BadModel for weights that are not there or do not fit."""
        self.version, self.sha256 = f"autoencoder-1-{steps}-{seed}", None
        self._device, self._steps, self._seed = device, steps, seed
        self._halves: tuple[torch.nn.Sequential, torch.nn.Sequential] | None = None
        if weights:
            self.sha256, self._halves = _read_weights(weights)
            self.version = f"autoencoder-1-{self.sha256[:8]}"
        self._forward: encoders.InferenceRunner | None = None

    @property
    def is_fitted(self) -> bool:
        return self._halves is not None

    def fit(self, crops: Sequence[NDArray[np.uint8]]) -> None:
        """Trains on these crops; the same crops, seed and machine give the same network."""
        import torch
        from torch.nn import functional

        torch.manual_seed(self._seed)
        pictures = torch.from_numpy(
            np.stack([decode.letterbox(crop, _SIDE_PX) for crop in crops])
        ).permute(0, 3, 1, 2)
        encoder, decoder = (half.to(self._device).train() for half in _build_halves())
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
        rng = np.random.default_rng(self._seed)
        for _ in range(self._steps):
            chosen = pictures[torch.from_numpy(rng.integers(0, len(crops), 64))].to(self._device)
            batch = chosen.float() / 127.5 - 1
            loss = functional.mse_loss(decoder(encoder(batch)), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self._halves = encoder.cpu().eval(), decoder.cpu().eval()
        self._forward = None

    def describe(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if self._halves is None:
            raise BadModel("autoencoder: not trained yet, call fit first or give its weights")
        if self._forward is None:
            inputs = BackboneSpec(
                self.version, "autoencoder", "", "", "", "", _SIDE_PX, 0.5, 0.5, 0
            )
            self._forward = encoders.InferenceRunner(
                self.version, self._halves[0], inputs, self._device
            )
        return self._forward(crops)

    def reconstruct(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The crops as it draws them again, uint8 (n, 64, 64, 3)."""
        import torch

        if self._halves is None:
            raise BadModel("autoencoder: not trained yet, call fit first or give its weights")
        pictures = np.stack([decode.letterbox(crop, _SIDE_PX) for crop in crops])
        with torch.inference_mode():
            batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
            again = self._halves[1](self._halves[0](batch))
        return ((again.permute(0, 2, 3, 1) + 1) * 127.5).clamp(0, 255).byte().numpy()

    def save(self, path: Path) -> None:
        from safetensors.torch import save_file

        if self._halves is None:
            raise BadModel("autoencoder: not trained yet, nothing to save")
        state = {
            f"{name}.{key}": t
            for name, half in zip(_HALF_NAMES, self._halves, strict=True)
            for key, t in half.state_dict().items()
        }
        save_file(
            state,
            path,
            metadata={"kind": "descriptor", "architecture": "autoencoder", "version": self.version},
        )


_HALF_NAMES = ("encoder", "decoder")


def _build_halves() -> tuple[torch.nn.Sequential, torch.nn.Sequential]:
    from torch import nn

    down: list[nn.Module] = []
    up: list[nn.Module] = []
    for narrow, wide in pairwise(_CHANNELS):
        down += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.ReLU()]
        up = [nn.ReLU(), nn.ConvTranspose2d(wide, narrow, 4, 2, 1), *up]
    # The middle may be negative, so no ReLU touches it on either side.
    return nn.Sequential(*down[:-1], nn.Flatten()), nn.Sequential(
        nn.Unflatten(1, (_CHANNELS[-1], 4, 4)), *up[1:]
    )


def _read_weights(path: Path) -> tuple[str, tuple[torch.nn.Sequential, torch.nn.Sequential]]:
    """Hash and network of a file that `save` wrote."""
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
            half.load_state_dict(
                {
                    key.removeprefix(f"{name}."): t
                    for key, t in state.items()
                    if key.startswith(f"{name}.")
                }
            )
    except (SafetensorError, RuntimeError) as error:
        raise BadModel(
            f"{path}: not an autoencoder's weights: {str(error).splitlines()[-1].strip()}"
        ) from error
    if not all(bool(torch.isfinite(t).all()) for t in state.values()):
        raise BadModel(f"{path}: weights that are no numbers")
    encoder, decoder = halves
    return hashlib.sha256(content).hexdigest(), (encoder.eval(), decoder.eval())
