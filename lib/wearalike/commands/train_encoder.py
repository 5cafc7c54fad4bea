"""`wearalike train encoder` and `train view-classifier`: labelled photos to a safetensors file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from wearalike.commands.encoder_training import (
    EncoderTrainingRun,
    fit_itq,
    train_and_write,
    train_hashnet,
)
from wearalike.commands.groups import command
from wearalike.commands.options import PATH, ParsedText, device_option, parse_kind_and_folder
from wearalike.datasets import layouts
from wearalike.encoding import hashnet, imagenet_itq
from wearalike.models import registry
from wearalike.models.files import ModelKind
from wearalike.training.encoder.config import EncoderTrainingConfig

_DEFAULTS = EncoderTrainingConfig()


def _training_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all trainings of encoders share."""
    kinds = layouts.DATASET_KINDS
    for option in (
        device_option,
        click.option("--seed", type=int, default=0, show_default=True, help="Random seed."),
        click.option(
            "--version",
            default="mine-1",
            show_default=True,
            help="Name and version, written beside every code.",
        ),
        click.option(
            "--out",
            type=PATH,
            required=True,
            metavar="DIR",
            help="Folder for checkpoint, losses, curves and <version>.safetensors.",
        ),
        click.option(
            "--data",
            type=ParsedText("KIND=FOLDER", parse_kind_and_folder(kinds)),
            multiple=True,
            required=True,
            help=f"Labelled photos; may be repeated. KIND: {', '.join(kinds)}.",
        ),
    ):
        function = option(function)
    return function


@command("encoder")
@_training_options
@click.option(
    "--recipe",
    type=click.Choice(["hash", "itq"]),
    default="hash",
    show_default=True,
    help="hash: a network of our own; itq: a palette and two rotations, which need no labels.",
)
@click.option("--steps", type=int, default=_DEFAULTS.steps, show_default=True)
@click.option(
    "--head-steps",
    type=int,
    default=_DEFAULTS.head_steps,
    show_default=True,
    help="Further steps, of the heads alone.",
)
@click.option(
    "--batch", type=int, default=_DEFAULTS.batch, show_default=True, help="Images a step."
)
@click.option(
    "--init-from",
    metavar="MODEL",
    help="File or packaged model to start from; default: ImageNet's weights.",
)
def encoder(
    recipe: str, steps: int, head_steps: int, batch: int, init_from: str | None, **options: Any
) -> None:
    """Train an encoder on labelled photos.

    A set of kind `folder` has a labels.csv with the columns image, split and one for each label.
    Labels named "colour" teach the colour code, "view" the view classifier, all others the shape
    code. The other kinds know the view of their images.

    A training continues where it stopped: repeat the same command. Two CPU cores take 1.5 to 3 s
    for a step of 64 images, so 700 steps take 20 to 40 minutes. The heads' own steps take as long
    again. A GPU takes minutes.
    """
    run = _training_run(options)
    if recipe == "itq":
        train_and_write(run, imagenet_itq.ITQ_ARCHITECTURE, lambda sets: fit_itq(run, sets))
        return
    config = EncoderTrainingConfig(steps=steps, head_steps=head_steps, batch=batch, seed=run.seed)
    initial = registry.load_by_name(ModelKind.ENCODER, init_from) if init_from else None
    train_and_write(
        run, hashnet.ARCHITECTURE, lambda sets: train_hashnet(run, sets, config, initial)
    )


@command("view-classifier")
@_training_options
@click.option(
    "--init-from",
    metavar="MODEL",
    required=True,
    help="File or packaged encoder whose codes stay as they are.",
)
def view_classifier(init_from: str, **options: Any) -> None:
    """Train what tells views of an encoder; its codes stay as they are.

    Photos that say nothing of views leave the encoder's view classifier as it is.
    """
    run = _training_run(options)
    initial = registry.load_by_name(ModelKind.ENCODER, init_from)
    config = EncoderTrainingConfig(steps=0, head_steps=0, seed=run.seed)
    train_and_write(
        run, initial.architecture, lambda sets: train_hashnet(run, sets, config, initial)
    )


def _training_run(options: Mapping[str, Any]) -> EncoderTrainingRun:
    """Return the shared options, with the device resolved, and make the folder."""
    run = EncoderTrainingRun(**{**options, "device": registry.resolve_device(options["device"])})
    run.out.mkdir(parents=True, exist_ok=True)
    return run
