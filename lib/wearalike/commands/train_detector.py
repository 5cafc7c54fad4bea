"""`wearalike train detector`: labelled photos to a detector's weights, one safetensors file."""

from __future__ import annotations

from typing import Any

import click

from wearalike.commands.detector_training import DetectorTrainingRun, train_and_write
from wearalike.commands.groups import command
from wearalike.commands.options import (
    PATH,
    ParsedText,
    device_option,
    parse_kind_and_folder,
    strict_labels_option,
)
from wearalike.datasets import layouts
from wearalike.detection.networks import registry as networks
from wearalike.models import registry
from wearalike.models.files import ModelKind
from wearalike.training.detector import box_head, cell_head
from wearalike.training.detector.trainer import DetectorTrainingConfig

_DEFAULTS = DetectorTrainingConfig()


@command("detector")
@click.option(
    "--data",
    type=ParsedText("KIND=FOLDER", parse_kind_and_folder(layouts.DATASET_KINDS)),
    multiple=True,
    required=True,
    help=f"Labelled photos; may be repeated. KIND: {', '.join(layouts.DATASET_KINDS)}.",
)
@click.option(
    "--out",
    type=PATH,
    required=True,
    metavar="DIR",
    help="Folder for checkpoint, losses, curves and <version>.safetensors.",
)
@click.option(
    "--version",
    default="mine-1",
    show_default=True,
    help="Name and version, written beside every item.",
)
@click.option(
    "--architecture",
    type=click.Choice(networks.ARCHITECTURES),
    default=_DEFAULTS.architecture,
    show_default=True,
)
@click.option("--steps", type=int, default=_DEFAULTS.steps, show_default=True)
@click.option(
    "--freeze-backbone-steps",
    type=int,
    help="First steps, in which the backbone is frozen; default: 0.6 of all, 0 with --init-from.",
)
@click.option(
    "--box-head-steps",
    type=int,
    default=box_head.BoxHeadTrainingConfig().steps,
    show_default=True,
    help="Steps of the box head, which reads each box again; 0: none.",
)
@click.option(
    "--cell-steps",
    type=int,
    default=cell_head.CellHeadTrainingConfig().steps,
    show_default=True,
    help="First steps of fcos-lite0: its head learns on single cells of a fixed backbone; 0: none.",
)
@click.option(
    "--batch", type=int, default=_DEFAULTS.batch, show_default=True, help="Scenes a step."
)
@click.option(
    "--minutes",
    type=float,
    help="Keep a checkpoint and stop after so long; the same command continues.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option(
    "--init-from",
    metavar="MODEL",
    help="File or packaged model to start from; default: ImageNet's weights.",
)
@click.option(
    "--pseudo-label-with",
    metavar="MODEL",
    help="A detector, packaged or a file, that labels what nobody has labelled.",
)
@strict_labels_option
@device_option
def detector(
    steps: int,
    freeze_backbone_steps: int | None,
    batch: int,
    minutes: float | None,
    init_from: str | None,
    **options: Any,
) -> None:
    """Train a detector on labelled photos.

    Kinds `coco` and `yolo` have a box for every item, `ccp` a mask. The other kinds have one
    item a photo, and its class in the column `type`. Only photos of these whose item stands out
    from a plain ground can be used, unless --pseudo-label-with names a detector.

    A network of the architecture fcos-lite0 begins with its head, on a backbone that does not
    learn: minutes on a CPU. With --steps 0 that is all. One of yolo-lite0-seg, which needs the
    extra `yolo`, also gets a box head. With --init-from and --steps 0 only that is trained.

    A training continues where it stopped: repeat the same command. Two CPU cores take about 1 s
    for a step of 8 scenes, so 2,000 steps take half an hour or more. The box head takes ten minutes
    on 10,000 images. A GPU takes minutes.
    """
    device = registry.resolve_device(options.pop("device"))
    run = DetectorTrainingRun(**options, device=device)
    run.out.mkdir(parents=True, exist_ok=True)
    initial = registry.load_by_name(ModelKind.DETECTOR, init_from) if init_from else None
    if freeze_backbone_steps is None:
        freeze_backbone_steps = 0 if initial else steps * 6 // 10
    config = DetectorTrainingConfig(
        architecture=run.architecture,
        steps=steps,
        freeze_backbone_steps=freeze_backbone_steps,
        batch=batch,
        seed=run.seed,
    )
    train_and_write(run, config, initial, minutes)
