"""`wearalike train encoder` and `train view-classifier`: labelled photos to a safetensors file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from wearalike.commands.backbone_option import choose_architecture, load_backbone
from wearalike.commands.encoder_training import (
    IMAGENET,
    PROMOTED,
    EncoderTrainingRun,
    load_initial_model,
    refit_view_classifier,
    train_and_write,
    train_likeness,
)
from wearalike.commands.groups import command
from wearalike.commands.itq_training import fit_itq
from wearalike.commands.options import (
    PATH,
    ParsedText,
    device_option,
    parse_kind_and_folder,
    settings_options,
    strict_labels_option,
)
from wearalike.datasets import layouts
from wearalike.encoding import imagenet_itq
from wearalike.models import registry
from wearalike.models.files import ModelKind
from wearalike.pipeline import job
from wearalike.training.encoder.likeness_config import LikenessConfig, parse_setting

_DEFAULTS = LikenessConfig()
# Share of the weights of an encoder that learns on.
_DEFAULT_SHARE = 0.5
# Heads that know something already need fewer steps.
_STEPS_FROM_ENCODER = 1200
_KINDS = (*layouts.DATASET_KINDS, layouts.RUN)


def training_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that trainings of encoders and of leaf classifiers share."""
    for option in (
        settings_options,
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
            "--last-runs",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Also learn from so many of the last runs in the data_dir.",
        ),
        click.option(
            "--data",
            type=ParsedText("KIND=FOLDER", parse_kind_and_folder(_KINDS)),
            multiple=True,
            help="Labelled photos, or run=RUN: the tables of a run; may be repeated. "
            f"KIND: {', '.join(_KINDS)}.",
        ),
        strict_labels_option,
    ):
        function = option(function)
    return function


@command("encoder")
@training_options
@click.option(
    "--recipe",
    type=click.Choice(["likeness", "itq"]),
    default="likeness",
    show_default=True,
    help="likeness: a network of our own; itq: a palette and two rotations, which need no labels.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help=f"Steps of the code heads; default: {_DEFAULTS.steps}, or {_STEPS_FROM_ENCODER} from an "
    "encoder.",
)
@click.option(
    "--products",
    type=click.IntRange(min=2),
    default=_DEFAULTS.products,
    show_default=True,
    help="Products a step.",
)
@click.option(
    "--label-weight",
    type=click.FloatRange(min=0),
    default=_DEFAULTS.label_weight,
    show_default=True,
    help="How much labels count beside likeness; 0: not at all.",
)
@click.option(
    "--setting",
    "settings",
    type=ParsedText("NAME=NUMBER", parse_setting),
    multiple=True,
    help="Any other setting of the recipe, such as joint_weight=3; may be repeated.",
)
@click.option(
    "--mask-steps",
    type=click.IntRange(min=1),
    default=_DEFAULTS.mask_steps,
    show_default=True,
    help="Steps of what tells the item from its ground; an encoder to start from has it.",
)
@click.option(
    "--mask-views",
    type=click.IntRange(min=1),
    default=_DEFAULTS.mask_views,
    show_default=True,
    help="Views that it learns from, 140 KB of memory each.",
)
@click.option(
    "--init-from",
    metavar="MODEL",
    help=f"{PROMOTED}, {IMAGENET}, a file or a packaged model to start from; default: {PROMOTED} "
    f"to learn from runs, else {IMAGENET}.",
)
@click.option(
    "--backbone",
    metavar="NAME",
    help="A network to start anew from in place of EfficientNet-Lite0: a name of timm's, such as "
    "densenet121 or resnet50.a1_in1k, or torchvision:NAME.",
)
@click.option(
    "--backbone-weights",
    type=PATH,
    metavar="FILE",
    help="Its weights, safetensors or a state dict; default: those in the cache of Hugging Face "
    "or torch. Nothing is downloaded.",
)
@click.option(
    "--new-heads",
    is_flag=True,
    help="Keep of the encoder to start from what finds and describes the item; what makes the "
    "codes starts anew. For many shops, not for one.",
)
@click.option(
    "--initial-share",
    type=click.FloatRange(0, 1),
    help="How much of the encoder to start from stays in the weights; default: "
    f"{_DEFAULT_SHARE}, or 0 with --new-heads. More forgets less of other shops. The same command "
    "with another share trains nothing anew. With --new-heads that encoder must have had the same "
    "photos and the same start, but other settings.",
)
def encoder(
    recipe: str,
    steps: int | None,
    products: int,
    label_weight: float,
    settings: tuple[tuple[str, float], ...],
    mask_steps: int,
    mask_views: int,
    init_from: str | None,
    backbone: str | None,
    backbone_weights: Path | None,
    new_heads: bool,
    initial_share: float | None,
    **options: Any,
) -> None:
    """Train an encoder by likeness: pictures of one product get codes that are near.

    A set of kind `folder` has a labels.csv with the columns image and split. Pictures of one
    `group` show one article, in several colours or views. Labels named "colour" and "pattern"
    teach the colour code, "view" the view classifier, all others the shape code.

    run=RUN takes a run's own tables as labels: leaf, gender, colour and pattern words, groups, all
    pictures of a product, and people's judgements of pairs. Runs add up. Articles are split by a
    hash, so that `wearalike evaluate --data run=RUN` asks for what was never seen.

    A training continues where it stopped: repeat the same command. Two CPU cores describe some ten
    pictures a second, once; then 1,200 steps take about ten minutes.
    """
    if backbone_weights and not backbone:
        raise click.UsageError("--backbone-weights belongs to --backbone NAME")
    if backbone and (recipe == "itq" or init_from not in (None, IMAGENET)):
        raise click.UsageError("--backbone starts a likeness training anew, from no encoder")
    run = prepare_training_run(options)
    if recipe == "itq":
        architecture = imagenet_itq.ITQ_ARCHITECTURE
        train_and_write(run, architecture, lambda sources: fit_itq(run, sources))
        return
    network = load_backbone(backbone, backbone_weights) if backbone else None
    initial = None if network else load_initial_model(run, init_from)
    if new_heads and initial is None:
        raise click.UsageError("--new-heads belongs to an encoder to start from (--init-from)")
    learns_on = initial is not None and not new_heads
    share = (_DEFAULT_SHARE if learns_on else 0.0) if initial_share is None else initial_share
    config = LikenessConfig(
        steps=steps or (_STEPS_FROM_ENCODER if learns_on else _DEFAULTS.steps),
        products=products,
        label_weight=label_weight,
        contrastive_weight=_DEFAULTS.contrastive_weight * label_weight / _DEFAULTS.label_weight,
        mask_steps=mask_steps,
        mask_views=mask_views,
        seed=run.seed,
    )
    config = replace(config, **dict(settings))  # type: ignore[arg-type]
    train_and_write(
        run,
        initial.architecture if initial else choose_architecture(network),
        lambda sources: train_likeness(run, sources, config, initial, share, new_heads, network),
    )


@command("view-classifier")
@training_options
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
    run = prepare_training_run(options)
    initial = registry.load_by_name(ModelKind.ENCODER, init_from)
    train_and_write(
        run,
        initial.architecture,
        lambda sources: refit_view_classifier(run, sources, initial),
    )


def prepare_training_run(options: Mapping[str, Any]) -> EncoderTrainingRun:
    """Return the shared options, with the device and settings resolved, and make the folder."""
    config: Path | None = options["config"]
    shared = {n: v for n, v in options.items() if n not in ("config", "data_dir", "device")}
    run = EncoderTrainingRun(
        **shared,
        device=registry.resolve_device(options["device"]),
        settings=job.read_settings(
            config, options["data_dir"], needs_feeds=False, needs_deployment=False
        ),
    )
    run.out.mkdir(parents=True, exist_ok=True)
    return run
