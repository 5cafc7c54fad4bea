"""The likeness training from photos to the arrays of a model file, stage by stage.

1. Wide maps of another trunk than the packaged one are reduced.
   The mask head learns on composites, unless the encoder to start from has one.
2. The frozen trunk and mask describe every view once; the descriptors stay on disk.
3. The code heads start as linear maps (LDA and ITQ), or as those of the encoder to start from.
4. The code heads learn likeness.
5. They are averaged with those of the encoder to start from, which forgets less of other shops:
   Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022. Heads that started anew are
   averaged with those of a training with other settings that had the same start: Wortsman et al.,
   "Model soups", ICML 2022.

Every stage keeps what it has done in the training's folder. A training that stops goes on with the
same command, and ends with the same file.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wearalike.datasets import layouts
from wearalike.encoding import likeness_net
from wearalike.encoding.backbone_trunk import BackboneTrunk
from wearalike.encoding.item_describer import ItemDescriber, MaskHead
from wearalike.encoding.likeness_net import CodeHeads, LikenessNet
from wearalike.models.files import Model
from wearalike.quality.judgements import Judgement
from wearalike.storage import atomic
from wearalike.training import loop, plot_losses
from wearalike.training.encoder import trunk_reduction
from wearalike.training.encoder.descriptor_bank import DescriptorBank, build_bank
from wearalike.training.encoder.descriptor_cache import (
    DescriberNet,
    describe_pictures,
    draw_all_views,
    weights_hash,
)
from wearalike.training.encoder.head_trainer import HeadTrainer
from wearalike.training.encoder.item_crops import crop_item
from wearalike.training.encoder.item_cutout import SIDE_PX, Pixels, cut_out_item
from wearalike.training.encoder.judged_triplets import build_triplets
from wearalike.training.encoder.likeness_config import LikenessConfig
from wearalike.training.encoder.linear_start import fit_standardization, start_heads
from wearalike.training.encoder.mask_trainer import (
    MaskInputNet,
    MaskTrainer,
    mask_input_rows,
    mask_iou,
)
from wearalike.training.encoder.training_pictures import (
    COLOUR_LABELS,
    TrainingPicture,
    TrainingSource,
    list_pictures,
    read_figures,
)
from wearalike.training.encoder.view_plan import CLEAN_VIEW, VIEWS_COUNT, ViewScenery

log = logging.getLogger(__name__)

STEPS_PER_CHECKPOINT = 50
_PICTURES_PER_MASK_BLOCK = 200
_MAX_FLOORS = 300
# Fewer views with a mask than this teach no mask.
_MIN_MASK_VIEWS = 16
# Every so many views with a mask one is kept to measure the mask head.
_MASK_TEST_STRIDE = 20

# Returns what is called with the number of further things that are done.
StartProgress = Callable[[str, int], Callable[[int], None]]


@dataclass(frozen=True, slots=True)
class LikenessTraining:
    """One likeness training.

    Attributes:
        sources: The sets of labelled photos.
        out: Folder of checkpoints, descriptors and losses.
        config: Settings.
        device: "cpu" or "cuda".
        initial: Encoder to start from; None starts from ImageNet.
        judgements: People's judgements of pairs of the runs' products.
        start_progress: Called with the name and number of the things that a stage will do.
        initial_share: 0..1. The part of the encoder to start from in the average of the weights.
        has_new_heads: The code heads start anew, on the trunk and the mask head of the encoder to
            start from.
        trunk: A public network to start from in place of the packaged trunk; None for that.
    """

    sources: Sequence[TrainingSource]
    out: Path
    config: LikenessConfig
    device: str
    initial: Model | None
    judgements: Sequence[Judgement]
    start_progress: StartProgress
    initial_share: float = 0.5
    has_new_heads: bool = False
    trunk: BackboneTrunk | None = None

    @property
    def initial_heads(self) -> Model | None:
        """The encoder whose code heads learn on; None if they start as linear maps."""
        return None if self.has_new_heads else self.initial

    @property
    def trunk_identity(self) -> str | None:
        """A text that changes with the trunk; None for the packaged one or the initial model's."""
        return f"{self.trunk.name} {weights_hash(self.trunk.network)}" if self.trunk else None


def train_likeness(training: LikenessTraining) -> dict[str, NDArray[np.floating]]:
    """Train an encoder, from the stage and step where an earlier call stopped.

    Args:
        training: The training.

    Returns:
        The arrays of the model file by name, without a view layer.

    Raises:
        BadModel: The encoder to start from has another architecture.
        ValueError: There is nothing to learn, or the folder holds another training.
    """
    street = read_figures(training.sources, "train")
    pictures = list_pictures(training.sources, street, "train")
    scenery = ViewScenery(street, _read_floors(training.sources, pictures))
    log.info(
        "%d pictures of %d products, %d figures, %d floors",
        len(pictures),
        len({picture.product for picture in pictures}),
        len(street.figures) if street else 0,
        len(scenery.floors),
    )
    if training.trunk:
        _fit_reduction(training, training.trunk, pictures, scenery)
    network = _build_network(training)
    if training.initial is None:
        _train_mask(training, network, pictures, scenery)
    update = training.start_progress("pictures described", len(pictures))
    views = describe_pictures(
        DescriberNet(network.trunk, network.describer).eval(),
        pictures,
        scenery,
        training.out / "descriptors",
        training.config.seed,
        training.device,
        range(VIEWS_COUNT),
        update,
    )
    bank = build_bank(pictures, views)
    _train_heads(training, network, bank, pictures)
    return likeness_net.export_arrays(network.cpu().eval())


def _build_network(training: LikenessTraining) -> LikenessNet:
    """Return the network at the start: of an encoder, or of ImageNet with untrained heads."""
    if training.initial is not None:
        arrays = likeness_net.drop_view_arrays(training.initial.arrays)
        return likeness_net.load_likeness_net(arrays, training.initial.architecture)
    trunk = training.trunk or likeness_net.imagenet_trunk()
    # After the trunk: its first loading in a process draws random numbers, a later one none.
    torch.manual_seed(training.config.seed)
    layout = trunk.layout
    empty = np.ones(layout.count, np.float32)
    hidden = training.config.hidden_units
    return LikenessNet(
        trunk,
        ItemDescriber(MaskHead(layout=layout), likeness_net.imagenet_palette(), layout),
        CodeHeads(empty, empty, hidden, hidden, layout=layout),
    ).eval()


def _fit_reduction(
    training: LikenessTraining,
    trunk: BackboneTrunk,
    pictures: Sequence[TrainingPicture],
    scenery: ViewScenery,
) -> None:
    """Fit the reduction of the trunk's maps, in place, or read what an earlier call has fitted."""
    key = _mask_identity(training, pictures)
    finished = training.out / f"trunk-{key}.npz"
    if not finished.exists():
        chosen = pictures[:: max(1, math.ceil(len(pictures) / trunk_reduction.MAX_PICTURES))]
        drawn = draw_all_views(chosen, scenery, training.config.seed, [CLEAN_VIEW])
        squares = [view.square for views in drawn for view in views]
        update = training.start_progress("pictures for the trunk", len(squares))
        arrays: dict[str, Any] = trunk_reduction.fit_reduction(trunk, squares, update)
        with atomic.replace_file(finished) as hidden, hidden.open("wb") as file:
            np.savez(file, **arrays)
    with np.load(finished, allow_pickle=False) as state:
        trunk_reduction.set_reduction(trunk, {name: state[name] for name in state.files})


def _read_floors(
    sources: Sequence[TrainingSource], pictures: Sequence[TrainingPicture]
) -> list[Pixels]:
    """Return photos whose ground is not plain, of sets of people's own photos.

    Those are sets whose colours nobody labelled, and neither runs nor street photos.
    """
    names = {
        source.labelled.name
        for source in sources
        if source.kind not in (layouts.CCP, layouts.RUN)
        and not set(COLOUR_LABELS) & set(source.labelled.label_names)
    }
    chosen = [p for p in pictures if p.source in names and p.path][:_MAX_FLOORS]
    crops = [crop_item(p.path, p.box, SIDE_PX) for p in chosen if p.path]
    return [crop for crop in crops if cut_out_item(crop) is None]


def _train_mask(
    training: LikenessTraining,
    network: LikenessNet,
    pictures: Sequence[TrainingPicture],
    scenery: ViewScenery,
) -> None:
    """Train the mask head of the network, in place."""
    config = training.config
    finished = training.out / f"mask-{_mask_identity(training, pictures)}.npz"
    if finished.exists():
        with np.load(finished, allow_pickle=False) as state:
            tensors = {name: torch.from_numpy(state[name]) for name in state.files}
        network.describer.mask.load_state_dict(tensors)
        return
    inputs = MaskInputNet(network.trunk).eval()
    rows, masks = _collect_mask_views(training, inputs, pictures, scenery)
    is_test = np.arange(len(rows)) % _MASK_TEST_STRIDE == 0
    trainer = MaskTrainer(network.describer.mask, inputs, rows[~is_test], masks[~is_test], config)
    trunk_key = f"-{_mask_identity(training, pictures)}" if training.trunk else ""
    checkpoint = training.out / f"mask{trunk_key}.pt"
    if checkpoint.exists():
        trainer.load_checkpoint(checkpoint)
    update = training.start_progress("mask steps", config.mask_steps - trainer.step)

    def on_step(step: int, losses: dict[str, float]) -> None:
        update(1)
        if step % STEPS_PER_CHECKPOINT == 0 or step == config.mask_steps:
            trainer.save_checkpoint(checkpoint)

    trainer.run(on_step)
    network.describer.mask.load_state_dict(trainer.averaged_state())
    overlap = mask_iou(network.describer.mask, inputs, rows[is_test], masks[is_test])
    log.info("masks of %d views kept back: mean IoU %.3f", is_test.sum(), overlap.mean())
    with atomic.replace_file(finished) as hidden, hidden.open("wb") as file:
        arrays: dict[str, Any] = {n: t.numpy() for n, t in trainer.averaged_state().items()}
        np.savez(file, **arrays)


def _mask_identity(training: LikenessTraining, pictures: Sequence[TrainingPicture]) -> str:
    """Return a text that changes with what the mask head learns from."""
    config = training.config
    recipe = (config.seed, config.mask_steps, config.mask_batch, config.mask_views)
    keys = [picture.product for picture in pictures]
    known: tuple[object, ...] = (recipe, config.mask_learning_rate, keys)
    if training.trunk:
        known = (*known, training.trunk_identity)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _collect_mask_views(
    training: LikenessTraining,
    inputs: MaskInputNet,
    pictures: Sequence[TrainingPicture],
    scenery: ViewScenery,
) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Return inputs and masks of views of pictures drawn at random, until there are enough."""
    config = training.config
    order = np.random.default_rng([config.seed, len(pictures)]).permutation(len(pictures))
    rows, masks, count = [], [], 0
    update = training.start_progress("views with masks", config.mask_views)
    for start in range(0, len(order), _PICTURES_PER_MASK_BLOCK):
        chosen = [pictures[i] for i in order[start : start + _PICTURES_PER_MASK_BLOCK]]
        drawn = draw_all_views(chosen, scenery, config.seed, range(VIEWS_COUNT))
        known = [v for views in drawn for v in views if v.mask is not None]
        known = known[: config.mask_views - count]
        if known:
            squares = [view.square for view in known]
            rows.append(mask_input_rows(inputs, squares, training.device))
            masks.append(np.stack([view.mask for view in known if view.mask is not None]))
        count += len(known)
        update(len(known))
        if count >= config.mask_views:
            break
    if count < _MIN_MASK_VIEWS:
        raise ValueError(
            f"nothing to learn masks from: {count} views with a known mask, wanted "
            f"{_MIN_MASK_VIEWS}: add photos of things laid flat on a plain ground, or street "
            "photos with masks (ccp=FOLDER), or start from a likeness encoder (--init-from)"
        )
    return np.concatenate(rows), np.concatenate(masks)


def _train_heads(
    training: LikenessTraining,
    network: LikenessNet,
    bank: DescriptorBank,
    pictures: Sequence[TrainingPicture],
) -> None:
    """Train the code heads of the network, in place."""
    config = training.config
    begin = {name: tensor.clone() for name, tensor in network.heads.state_dict().items()}
    log.info(
        "%d views of %d products; %s",
        len(bank.product),
        len(bank.product_keys),
        ", ".join(f"{task.name} ({task.classes_count} classes)" for task in bank.tasks),
    )
    checkpoint = training.out / "checkpoint.pt"
    is_new = not checkpoint.exists()
    if training.initial_heads is None:
        layout = network.layout
        mean, scale = fit_standardization(bank, layout)
        torch.manual_seed(config.seed)
        hidden_units = config.hidden_units
        network.heads = CodeHeads(mean, scale, hidden_units, hidden_units, layout=layout)
        if is_new:
            start_heads(network.heads, bank)
        if training.initial is not None and training.initial_share:
            _check_same_start(begin, network.heads)
    numbers = {key: number for number, key in enumerate(bank.product_keys)}
    number_of_product = {
        picture.name: numbers[picture.product] for picture in pictures if picture.product in numbers
    }
    triplets = build_triplets(training.judgements, number_of_product)
    if training.judgements:
        log.info("%d judgements give %d triplets", len(training.judgements), len(triplets))
    trainer = HeadTrainer(
        network.heads, bank, config, training.device, triplets, training.trunk_identity
    )
    if not is_new:
        trainer.load_checkpoint(checkpoint)
        log.info("goes on from step %d", trainer.step)
    table = training.out / "losses.csv"
    update = training.start_progress("steps", config.steps - trainer.step)
    waiting: list[dict[str, float]] = []

    def on_step(step: int, losses: dict[str, float]) -> None:
        waiting.append(losses)
        update(1)
        if step % STEPS_PER_CHECKPOINT == 0 or step == config.steps:
            loop.append_losses_csv(table, step, waiting)
            waiting.clear()
            trainer.save_checkpoint(checkpoint)
            plot_losses.plot_losses(table, training.out / "losses.png")

    trainer.run(on_step)
    result = trainer.averaged_state()
    share = training.initial_share
    if training.initial is not None and share:
        result = {
            name: torch.lerp(tensor, begin[name].to(tensor.device), share)
            for name, tensor in result.items()
        }
    network.heads.load_state_dict(result)


def _check_same_start(begin: dict[str, Tensor], heads: CodeHeads) -> None:
    """Raise ValueError unless heads to average with began on the same descriptors as new ones."""
    known = heads.state_dict()
    is_same = all(begin[name].shape == tensor.shape for name, tensor in known.items())
    if not (is_same and torch.equal(begin["mean"], known["mean"])):
        raise ValueError(
            "new heads can be averaged only with those of a training on the same photos, that also "
            "had --new-heads and the same mask head: give --initial-share 0"
        )
