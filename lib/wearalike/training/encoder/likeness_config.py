"""Settings of the likeness training."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class LikenessConfig:
    """Settings of the likeness training, as likeness-2 had them.

    AdamW's learning rate rises linearly, then falls to 0 in a half cosine.

    Attributes:
        steps: Steps of the code heads.
        products: Products a step: half drawn from all, half from a few kinds, so that a step has
            products that are hard to tell apart.
        views: Views of each product a step; one of a sibling is added.
        learning_rate: Highest learning rate of the code heads.
        warmup_steps: Steps in which the learning rate rises.
        weight_decay: AdamW's weight decay.
        ema_decay: Decay of the weight average, which is the result.
        temperature: Temperature of InfoNCE.
        shape_weight: Weight of InfoNCE over articles, of the shape code.
        colour_weight: Weight of InfoNCE over products, of the colour code.
        joint_weight: Weight of InfoNCE over products, of both codes side by side.
        distillation_weight: Weight of agreeing with ImageNet's features and the histograms.
        label_weight: Weight of classifying types, colours and all other labels.
        contrastive_weight: Weight of drawing products with the same label together.
        binary_share: Part of their signs in the codes that losses see; it rises over 1,000 steps.
        quantization_weight: Weight of pushing outputs to -1 or 1; it rises over 1,000 steps.
        balance_weight: Weight of unbalanced and of correlated bits.
        overlap_weight: Weight of the covariance between bits of shape and of colour.
        sibling_weight: Weight of InfoNCE over articles, of the shape codes of clean pictures.
        siblings: Articles in other colours a step.
        triplet_weight: Weight of people's judgements of pairs.
        triplets: Judged triplets a step.
        mask_steps: Steps of the mask head.
        mask_batch: Views a step of the mask head.
        mask_views: Views with a known mask that the mask head learns from, 140 KB each on disk.
        mask_learning_rate: Highest learning rate of the mask head.
        hidden_units: Hidden units of each code head.
        seed: Seed of views, steps and weights.
    """

    steps: int = 4000
    products: int = 128
    views: int = 4
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.02
    ema_decay: float = 0.995
    temperature: float = 0.1
    shape_weight: float = 1.0
    colour_weight: float = 1.0
    joint_weight: float = 1.5
    distillation_weight: float = 2.0
    label_weight: float = 1.0
    contrastive_weight: float = 1.0
    binary_share: float = 1.0
    quantization_weight: float = 0.1
    balance_weight: float = 0.5
    overlap_weight: float = 0.1
    sibling_weight: float = 1.0
    siblings: int = 64
    triplet_weight: float = 1.0
    triplets: int = 32
    mask_steps: int = 520
    mask_batch: int = 64
    mask_views: int = 8000
    mask_learning_rate: float = 6e-3
    hidden_units: int = 256
    seed: int = 0


def parse_setting(text: str) -> tuple[str, float]:
    """Parse a setting, such as "joint_weight=3".

    Args:
        text: Name and value.

    Returns:
        Name and value, an int for counts.

    Raises:
        ValueError: There is no such setting, or its value is no number of 0 or more.
    """
    name, _, value = text.partition("=")
    types = {field.name: int if field.type == "int" else float for field in fields(LikenessConfig)}
    if name not in types:
        raise ValueError(f"{text!r}: wanted NAME=NUMBER, NAME one of {', '.join(types)}")
    try:
        number = types[name](value)
    except ValueError:
        number = -1
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"{text!r}: wanted {name}=NUMBER, a number of 0 or more")
    return name, number


def cosine_factor(step: int, steps: int, warmup_steps: int) -> float:
    """Return the learning rate of a step as a share of the highest.

    Args:
        step: Number of the step, from 0.
        steps: Number of all steps.
        warmup_steps: Steps in which the rate rises.

    Returns:
        0..1: a linear rise times a half cosine.
    """
    rise = min(1.0, (step + 1) / max(1, warmup_steps))
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))
