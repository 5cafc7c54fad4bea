"""Settings of an encoder's training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from wearalike.training.encoder.augment import AugmentationConfig


@dataclass(frozen=True, slots=True)
class EncoderTrainingConfig:
    """Settings of an encoder's training.

    Both parts use AdamW: the learning rate rises linearly, then falls to 0 in a half cosine.

    Attributes:
        steps: Steps of backbone and heads together.
        batch: Images a step.
        head_steps: Steps of the heads alone, afterwards.
        head_batch: Views a step of the heads alone.
        head_views: Views of every image that the heads learn from, 50 KB of memory each. The first
            is laid as the nightly run lays it.
        backbone_learning_rate: Highest learning rate of the backbone.
        head_learning_rate: Highest learning rate of the heads.
        warmup_steps: Steps in which the learning rate rises, in either part.
        weight_decay: AdamW's weight decay.
        label_smoothing: Share of a label that is spread over all classes, so that the few images
            are not learned by heart.
        contrastive_weight: Weight of the supervised contrastive loss.
        min_contrastive_classes: Only labels with at least this many classes are contrasted. With
            two classes (gender) the loss would pull shoes towards shirts.
        temperature: Temperature of the contrastive loss.
        distillation_weight: Weight of the similarity distillation losses.
        quantization_weight: Weight of the loss that pushes outputs to -1 or 1.
        balance_weight: Weight of the loss of unbalanced and of correlated bits.
        ema_decay: Decay of the weight average, which is the result.
        seed: Seed of the training.
        augmentation: Strength of the augmentation.
    """

    steps: int = 700
    batch: int = 64
    head_steps: int = 2500
    head_batch: int = 256
    head_views: int = 3
    backbone_learning_rate: float = 3e-4
    head_learning_rate: float = 1.5e-3
    warmup_steps: int = 100
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    contrastive_weight: float = 0.5
    min_contrastive_classes: int = 10
    temperature: float = 0.1
    distillation_weight: float = 4.0
    quantization_weight: float = 0.1
    balance_weight: float = 0.3
    ema_decay: float = 0.995
    seed: int = 0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)


def learning_rate_factor(step: int, config: EncoderTrainingConfig) -> float:
    """Return the learning rate of a step as a share of the highest.

    Args:
        step: Number of the step, from 0.
        config: Settings of the training.

    Returns:
        0..1: a linear rise times a half cosine, once in either part.
    """
    if step < config.steps:
        part_steps = config.steps
    else:
        part_steps = max(1, config.head_steps)
        step -= config.steps
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return rise * 0.5 * (1 + math.cos(math.pi * step / part_steps))
