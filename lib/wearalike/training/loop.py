"""The training loop that both trainers share: schedule, weight average, checkpoint and losses.

A step depends on the seed and its own number only. So a training that stops and resumes ends with
the same weights as one that never stops.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from wearalike.storage import atomic

Batch = TypeVar("Batch")

# The seed of step n is seed * this + n; a prime beyond any number of steps.
_SEED_STRIDE = 1_000_003
# Characters of an identity that an error message quotes.
_QUOTED_IDENTITY_CHARS = 500


class TrainingLoop:
    """Optimizer, schedule, weight average and checkpoint of one training.

    The optimizer is AdamW. The average is an exponential moving average of the weights, and it is
    the result of the training. Its update is torch's, but it is no `AveragedModel`. That one starts
    as a copy after the first step, and copies the frozen layers too. Its copy would also keep
    calling the original's depthwise convolutions (amp.keep_depthwise_in_float32).

    Attributes:
        step: Number of steps taken.
        average: Averaged weights by name.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        *,
        parameter_groups: Sequence[tuple[Sequence[nn.Parameter], float]],
        averaged_state: Callable[[], Mapping[str, Tensor]],
        learning_rate_factor: Callable[[int], float],
        identity: Mapping[str, object],
        seed: int,
        weight_decay: float,
        ema_decay: float,
        max_gradient_norm: float,
        device: str,
    ) -> None:
        """Set up the loop at step 0.

        Args:
            modules: Everything that a checkpoint saves, by name.
            parameter_groups: Trainable parameters and their highest learning rate, a pair a group.
            averaged_state: Returns the live tensors that are averaged, by name.
            learning_rate_factor: Learning rate of a step (from 0), as a share of the highest.
            identity: Facts that a checkpoint must share with the training that resumes from it.
            seed: Seed of the steps.
            weight_decay: AdamW's weight decay.
            ema_decay: Decay of the weight average, 0..1.
            max_gradient_norm: Gradients are clipped to this norm.
            device: "cpu" or "cuda".
        """
        self.step = 0
        self._modules = modules
        self._averaged_state = averaged_state
        self._identity = json.dumps(identity)
        self._seed = seed
        self._ema_decay = ema_decay
        self._max_gradient_norm = max_gradient_norm
        self._device = device
        self._parameters = [p for parameters, _ in parameter_groups for p in parameters]
        self._optimizer = torch.optim.AdamW(
            [{"params": list(parameters), "lr": rate} for parameters, rate in parameter_groups],
            weight_decay=weight_decay,
        )
        self._schedule = LambdaLR(self._optimizer, learning_rate_factor)
        self.reset_average()

    def reset_average(self) -> None:
        """Start the weight average anew from the current weights."""
        self.average = {n: t.detach().clone() for n, t in self._averaged_state().items()}

    def seed_step(self) -> None:
        """Seed torch for the coming step, so that dropout is a function of seed and step too."""
        torch.manual_seed(self._seed * _SEED_STRIDE + self.step)

    def take_step(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """Update the weights by the gradient of the sum of losses, and count the step.

        Args:
            losses: Scalar losses by name.

        Returns:
            The losses as numbers.
        """
        self._optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(self._parameters, self._max_gradient_norm)
        self._optimizer.step()
        self._schedule.step()
        self._update_average()
        self.step += 1
        return {name: float(value.detach()) for name, value in losses.items()}

    def _update_average(self) -> None:
        """Move the average towards the current weights."""
        # Early on the average is short, so that it forgets the initial weights quickly.
        decay = min(self._ema_decay, (1 + self.step) / (10 + self.step))
        current = self._averaged_state()
        get_ema_multi_avg_fn(decay)(
            list(self.average.values()), [current[name].detach() for name in self.average], 0
        )

    def save_checkpoint(self, path: Path) -> None:
        """Write all that a later run needs to resume.

        Args:
            path: File to write; it is replaced as a whole.
        """
        state = {
            "step": self.step,
            "training": self._identity,
            "average": self.average,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        state |= {name: module.state_dict() for name, module in self._modules.items()}
        with atomic.replace_file(path) as hidden:
            torch.save(state, hidden)

    def load_checkpoint(self, path: Path) -> None:
        """Resume from a checkpoint.

        Args:
            path: File that `save_checkpoint` wrote.

        Raises:
            ValueError: The checkpoint has another configuration or other data.
        """
        state = torch.load(path, map_location=self._device, weights_only=True)
        if state["training"] != self._identity:
            raise ValueError(
                f"{path}: a checkpoint of another training: "
                f"{state['training'][:_QUOTED_IDENTITY_CHARS]}, "
                f"wanted {self._identity[:_QUOTED_IDENTITY_CHARS]}"
            )
        for name, module in self._modules.items():
            module.load_state_dict(state[name])
        self.average = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.step = state["step"]


def prefetch(build: Callable[[int], Batch], steps: range, depth: int = 2) -> Iterator[Batch]:
    """Yield build(step) for every step in order, built by a thread while earlier ones are used.

    A `torch.utils.data.DataLoader` would build them in another process. That process could not use
    the compiled or GPU layers that make a batch, and it would copy the images, which are gigabytes.

    Args:
        build: Builds the batch of a step.
        steps: Numbers of the steps.
        depth: Number of batches that are built ahead, 1 or more.

    Yields:
        The batches.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: list[Future[Batch]] = []
        for step in steps:
            waiting.append(pool.submit(build, step))
            if len(waiting) >= depth:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def append_losses_csv(csv_path: Path, step: int, losses: Sequence[Mapping[str, float]]) -> None:
    """Add the mean losses of the last steps to a CSV file.

    Rows of this step or later are dropped: an earlier run wrote them after its last checkpoint.

    Args:
        csv_path: File to extend; it is created if it does not exist.
        step: Number of the last step.
        losses: Losses by name, a mapping a step. Not every step has every loss.
    """
    names = list(dict.fromkeys(name for row in losses for name in row))
    means = {name: float(np.mean([row[name] for row in losses if name in row])) for name in names}
    earlier = [row for row in _read_csv(csv_path) if int(row["step"]) < step]
    columns = list(dict.fromkeys([*(name for row in earlier for name in row), "step", *means]))
    with csv_path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(earlier)
        writer.writerow({"step": step, **{name: round(mean, 5) for name, mean in means.items()}})


def _read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file; none if it does not exist."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
