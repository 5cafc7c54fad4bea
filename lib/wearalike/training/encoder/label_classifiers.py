"""Linear classifiers of labels on codes, which help the training and are then thrown away."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from wearalike.encoding.likeness_net import CodeHeads
from wearalike.tables import CODE_BITS
from wearalike.training.encoder.descriptor_bank import DescriptorBank, LabelTask, clean_rows

_BLOCK_ROWS = 4096


def start_classifiers(heads: CodeHeads, bank: DescriptorBank) -> nn.ModuleList:
    """Return a classifier for each task of the bank that says the class with the nearest mean.

    Random classifiers would first disturb heads that know something already.

    Args:
        heads: The heads at the start of their training.
        bank: The descriptors of the training views.

    Returns:
        A linear layer from 128 squashed outputs to the classes of each task, in their order.
    """
    shape, colour = _squashed_codes(heads, bank)
    return nn.ModuleList(
        _nearest_mean(task, colour if task.is_colour else shape) for task in bank.tasks
    )


def _squashed_codes(heads: CodeHeads, bank: DescriptorBank) -> tuple[Tensor, Tensor]:
    """Return the codes of a clean view of each product, float32 (p, 128) each."""
    rows = clean_rows(bank)
    device = heads.mean.device
    was_training = heads.training
    heads.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(rows), _BLOCK_ROWS):
            part = bank.descriptors[rows[start : start + _BLOCK_ROWS]].astype(np.float32)
            parts.append(torch.tanh(torch.cat(heads(torch.from_numpy(part).to(device)), dim=1)))
    heads.train(was_training)
    return torch.cat(parts).split(CODE_BITS, dim=1)


def _nearest_mean(task: LabelTask, codes: Tensor) -> nn.Linear:
    """Return the classifier of a task: -1/2 the squared distance to a mean, less what all share."""
    classes = torch.from_numpy(task.labels).to(codes.device)
    is_labelled = classes >= 0
    classes = classes[is_labelled]
    sums = codes.new_zeros(task.classes_count, CODE_BITS).index_add_(0, classes, codes[is_labelled])
    means = sums / torch.bincount(classes, minlength=task.classes_count)[:, None]
    classifier = nn.Linear(CODE_BITS, task.classes_count, device=codes.device)
    with torch.no_grad():
        classifier.weight.copy_(means)
        classifier.bias.copy_(-means.square().sum(dim=1) / 2)
    return classifier
