"""Where the time goes: processor time of each stage of a picture, one thread, and a plot of it,
build/bench-stages.png.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wearalike.encoding import encoders
from wearalike.imaging import decode as imaging_decode
from wearalike.models import registry
from wearalike.models.registry import EFFICIENTNET_LITE0

BUILD = Path(__file__).resolve().parents[2] / "build"


def encoder_input(crop: np.ndarray) -> np.ndarray:
    """A crop as the encoder's network takes it."""
    square = imaging_decode.letterbox(crop, EFFICIENTNET_LITE0.input_px)
    return registry.normalize_pixels(square[None], EFFICIENTNET_LITE0.mean, EFFICIENTNET_LITE0.std)


def mean_ms(work: Callable[[Any], Any], arguments: Sequence[Any]) -> tuple[float, list[Any]]:
    """Processor time a call, and what the calls gave; one call before the clock counts."""
    work(arguments[0])
    start = time.process_time()
    found = [work(argument) for argument in arguments]
    return (time.process_time() - start) * 1e3 / len(found), found


def encoding_stages(
    contents: Sequence[bytes],
    boxes: Sequence[tuple[int, int, int, int]],
    encoder: encoders.Encoder,
    forward: Callable,
) -> dict[str, float]:
    """Milliseconds of a picture by stage."""
    decode, crops = mean_ms(
        lambda pair: imaging_decode.crop_boxes(pair[0], [pair[1]], encoder.side_px)[0],
        list(zip(contents, boxes, strict=True)),
    )
    fit, squares = mean_ms(lambda crop: imaging_decode.letterbox(crop, encoder.side_px), crops)
    scale, tensors = mean_ms(
        lambda square: registry.normalize_pixels(
            square[None], EFFICIENTNET_LITE0.mean, EFFICIENTNET_LITE0.std
        ),
        squares,
    )
    network, _ = mean_ms(forward, tensors)
    return {"decode, crop": decode, "resize": fit, "scale": scale, "network": network}


def format_stages(stages: dict[str, float]) -> str:
    return "processor time of one: " + ", ".join(
        f"{name} {ms:.2f} ms" for name, ms in stages.items()
    )


def plot_stages(name: str, stages: dict[str, float]) -> None:
    """A bar of its stages beside those of the others that were drawn before."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    BUILD.mkdir(exist_ok=True)
    kept = BUILD / "bench-stages.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    known[name] = stages
    kept.write_text(json.dumps(known, indent=1), encoding="utf-8")
    figure, all_axes = plt.subplots(
        len(known), 1, figsize=(9, 0.6 + 1.5 * len(known)), layout="constrained", squeeze=False
    )
    for axes, (title, parts) in zip(all_axes.flat, known.items(), strict=True):
        left = 0.0
        for stage, ms in parts.items():
            axes.barh([title], [ms], left=left, label=f"{stage} {ms:.2f}")
            left += ms
        axes.legend(
            ncols=len(parts),
            loc="upper center",
            bbox_to_anchor=(0.5, -0.15),
            frameon=False,
            fontsize=8,
        )
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0][0].set_title("ms of processor time a picture", fontsize=9)
    figure.savefig(BUILD / "bench-stages.png", dpi=120)
    plt.close(figure)
