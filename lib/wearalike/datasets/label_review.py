"""Two people's labels of the same pictures: where they differ, how far they agree, what counts.

Boxes are paired as `label_agreement` does: greedily by IoU, from MIN_IOU on. Two people disagree on
a picture if a box has no partner, or if class, leaf, colour or pattern of a pair differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from wearalike.datasets.formats.record import LabelledObject
from wearalike.datasets.label_agreement import (
    LabelPair,
    attribute_kappas,
    class_kappa,
    match_boxes,
)
from wearalike.datasets.picture_labels import (
    ATTRIBUTE_NAMES,
    LabelHistory,
    LabelStatus,
    PictureLabel,
)

# Reasons why a picture is not in the corrected set.
OPEN_DISAGREEMENT = "open disagreement"
SKIPPED = "skipped"
ONLY_ONE_PERSON = "labelled by one person"


@dataclass(frozen=True, slots=True)
class LabelDifference:
    """A difference between two people's labels of a picture.

    Attributes:
        name: "box", "class" or one of ATTRIBUTE_NAMES.
        pair: The boxes; one of them is None for "box".
        first: Word of the first; empty where nothing is said.
        second: Word of the second.
    """

    name: str
    pair: LabelPair
    first: str
    second: str


def is_outdated(final: PictureLabel, labels: Sequence[PictureLabel]) -> bool:
    """Return whether somebody has labelled a picture again since its final label was saved.

    Args:
        final: The final label.
        labels: Those of each person.
    """
    return any(label.saved_at > final.saved_at for label in labels)


@dataclass(frozen=True, slots=True)
class PictureDisagreement:
    """A picture on which people disagree.

    Attributes:
        labels: Those of each person, by name.
        differences: Both names and the differences, for each two people who differ.
        final: The chosen or corrected label; None while that is open.
    """

    labels: tuple[PictureLabel, ...]
    differences: tuple[tuple[str, str, tuple[LabelDifference, ...]], ...]
    final: PictureLabel | None

    @property
    def is_outdated(self) -> bool:
        """Somebody has labelled the picture again since the final label was saved."""
        return self.final is not None and is_outdated(self.final, self.labels)


@dataclass(frozen=True, slots=True)
class LabellerAgreement:
    """How far two people agree on the pictures that both labelled.

    Attributes:
        labellers: Both names.
        pictures_count: Pictures that both labelled.
        disagreements_count: Pictures with a difference.
        pairs_count: Boxes that both drew.
        single_count: Boxes that one of them drew alone.
        mean_iou: Mean IoU of the boxes that both drew; None without any.
        kappas: Cohen's kappa of these boxes' class and ATTRIBUTE_NAMES, where both say something;
            None where it is undefined.
    """

    labellers: tuple[str, str]
    pictures_count: int
    disagreements_count: int
    pairs_count: int
    single_count: int
    mean_iou: float | None
    kappas: dict[str, float | None]


def match_labels(first: PictureLabel, second: PictureLabel) -> list[LabelPair]:
    """Pair the boxes of two people's labels of one picture."""
    return match_boxes(first.picture.image_id, first.objects, second.objects)


def find_differences(pairs: Sequence[LabelPair]) -> tuple[LabelDifference, ...]:
    """Return how the labels of two people differ.

    Args:
        pairs: The pairs of a picture.
    """
    found = []
    for pair in pairs:
        if pair.first is None or pair.second is None:
            found.append(LabelDifference("box", pair, *pair.categories))
            continue
        values = _labels_by_name(pair.first), _labels_by_name(pair.second)
        found += [
            LabelDifference(name, pair, values[0][name], values[1][name])
            for name in values[0]
            if values[0][name] != values[1][name]
        ]
    return tuple(found)


def list_disagreements(history: LabelHistory) -> list[PictureDisagreement]:
    """Return the pictures on which people disagree, in the order of their first labels.

    Args:
        history: Everything that was saved.
    """
    found = []
    for image_id in history.by_picture:
        labels = history.labels_of(image_id)
        differences = tuple(
            (first.labeller, second.labeller, between)
            for first, second in combinations(labels, 2)
            if (between := find_differences(match_labels(first, second)))
        )
        if differences:
            final = history.finals.get(image_id)
            found.append(PictureDisagreement(tuple(labels), differences, final))
    return found


def describe_differences(one: PictureDisagreement) -> list[str]:
    """Return each difference as a line: whose boxes, and what each says.

    Args:
        one: The picture. Boxes are numbered from 1 in each person's order.
    """
    numbers = {
        label.labeller: {id(o): n for n, o in enumerate(label.objects, 1)} for label in one.labels
    }
    lines = []
    for first, second, differences in one.differences:
        for difference in differences:
            a, b = difference.pair.first, difference.pair.second
            if a and b:
                place = (
                    f"Box {numbers[first][id(a)]} of {first}, {numbers[second][id(b)]} of {second}"
                )
                words = f"{difference.first or 'nothing'} or {difference.second or 'nothing'}"
                lines.append(
                    f"{place} (IoU {difference.pair.iou:.2f}): {difference.name} is {words}"
                )
            elif a:
                place = f"Box {numbers[first][id(a)]} of {first}, {a.category}"
                lines.append(f"{place}: {second} has none there")
            elif b:
                place = f"Box {numbers[second][id(b)]} of {second}, {b.category}"
                lines.append(f"{place}: {first} has none there")
    return lines


def measure_agreement(history: LabelHistory) -> list[LabellerAgreement]:
    """Measure how far every two people agree who labelled a picture in common.

    Args:
        history: Everything that was saved.
    """
    pairs_by_people: dict[tuple[str, str], list[list[LabelPair]]] = {}
    for image_id in history.by_picture:
        for first, second in combinations(history.labels_of(image_id), 2):
            people = first.labeller, second.labeller
            pairs_by_people.setdefault(people, []).append(match_labels(first, second))
    return [
        _measure_pictures(people, pictures) for people, pictures in sorted(pairs_by_people.items())
    ]


def _measure_pictures(
    people: tuple[str, str], pictures: Sequence[Sequence[LabelPair]]
) -> LabellerAgreement:
    """Measure the pairs of all pictures of two people."""
    pairs = [pair for picture in pictures for pair in picture]
    overlaps = [pair.iou for pair in pairs if pair.first and pair.second]
    kappa = class_kappa(pairs)
    of_attributes = attribute_kappas(pairs)
    kappas = {"class": None if np.isnan(kappa) else kappa}
    kappas |= {name: of_attributes.get(name, (0, None))[1] for name in ATTRIBUTE_NAMES}
    return LabellerAgreement(
        people,
        len(pictures),
        sum(bool(find_differences(picture)) for picture in pictures),
        len(overlaps),
        len(pairs) - len(overlaps),
        float(np.mean(overlaps)) if overlaps else None,
        kappas,
    )


def choose_corrected(
    history: LabelHistory, *, only_double: bool = False
) -> tuple[list[PictureLabel], Counter[str]]:
    """Choose the labels that count of every picture.

    That is the final label, unless somebody has labelled the picture again since. Else it is what
    the only person says, or what the first by name says where all agree.

    Args:
        history: Everything that was saved.
        only_double: Leave out what one person alone has labelled.

    Returns:
        The labels by image_id, and how many pictures are left out by reason.
    """
    chosen: list[PictureLabel] = []
    left_out: Counter[str] = Counter()
    for image_id in sorted(history.by_picture.keys() | history.finals.keys()):
        labels = history.labels_of(image_id)
        final = history.finals.get(image_id)
        if final and not is_outdated(final, labels):
            chosen.append(final)
        elif not labels:
            left_out[SKIPPED] += 1
        elif len(labels) == 1 and only_double:
            left_out[ONLY_ONE_PERSON] += 1
        elif any(find_differences(match_labels(a, b)) for a, b in combinations(labels, 2)):
            left_out[OPEN_DISAGREEMENT] += 1
        else:
            chosen.append(labels[0])
    return chosen, left_out


def choose_of_person(
    history: LabelHistory, labeller: str
) -> tuple[list[PictureLabel], Counter[str]]:
    """Choose what one person last saved of every picture.

    Args:
        history: Everything that was saved.
        labeller: The person.

    Returns:
        The labels by image_id, and how many pictures the person skipped.

    Raises:
        ValueError: Nobody of that name has labelled.
    """
    people = sorted({row.labeller for row in history.rows})
    if labeller not in people:
        raise ValueError(
            f"labeller {labeller!r}: wanted one of {', '.join(people) or 'nobody yet'}"
        )
    own = [
        by_person[labeller]
        for _, by_person in sorted(history.by_picture.items())
        if labeller in by_person
    ]
    chosen = [label for label in own if label.status is LabelStatus.LABELLED]
    return chosen, Counter({SKIPPED: len(own) - len(chosen)})


def _labels_by_name(labelled: LabelledObject) -> dict[str, str]:
    """Return class and attributes of a box; empty where nothing is said."""
    return {
        "class": labelled.category,
        **{name: labelled.attributes.get(name, "") for name in ATTRIBUTE_NAMES},
    }
