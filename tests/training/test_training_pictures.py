"""Pictures, products and tasks: what belongs together, and what teaches what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wearalike.datasets import layouts
from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.quality.judgements import Judgement, RelevanceVerdict
from wearalike.training.encoder.descriptor_bank import build_bank
from wearalike.training.encoder.descriptor_cache import ViewDescriptors
from wearalike.training.encoder.judged_triplets import build_triplets
from wearalike.training.encoder.product_batches import draw_batch, draw_siblings, index_products
from wearalike.training.encoder.training_pictures import TrainingSource, list_pictures
from wearalike.training.encoder.view_plan import CLEAN_VIEW


def photo(number, group="", product="", view="", split="train", **labels) -> LabelledPhoto:
    return LabelledPhoto(
        f"{number}.png", Path(f"{number}.png"), split, labels, None, group, product, view
    )


def source(kind, *photos, name="mine") -> TrainingSource:
    return TrainingSource(kind, Path("x"), LabelledDataset(name, photos, ("type", "colour")))


def bank_of(pictures, views_count=2):
    count = len(pictures) * views_count
    views = ViewDescriptors(
        np.zeros((count, 4), np.float16),
        np.repeat(np.arange(len(pictures)), views_count),
        np.tile(np.arange(views_count), len(pictures)),
        np.ones(count, bool),
    )
    return build_bank(pictures, views)


def test_products_and_articles_are_those_of_the_set():
    pictures = list_pictures(
        [
            source(
                "folder",
                photo(0, "a", "a/red", type="dress", colour="red"),
                photo(1, "a", "a/red", type="dress", colour="red"),
                photo(2, "a", "a/blue", type="dress", colour="blue"),
                photo(3, type="dress"),
                photo(4, "b", split="test", type="bag"),
            )
        ],
        None,
        "train",
    )
    bank = bank_of(pictures)
    assert len(pictures) == 4 and len(bank.product_keys) == 3
    assert bank.product.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    articles = bank.article_of_product
    assert articles[0] == articles[1] != articles[2]


def test_an_article_of_a_set_is_not_that_of_another():
    pictures = list_pictures(
        [source("folder", photo(0, "a", "a"), name=name) for name in ("one", "two")], None, "train"
    )
    assert len({picture.article for picture in pictures}) == 2


def test_runs_add_up_and_partial_views_give_way():
    first = source(
        layouts.RUN,
        photo(0, "s:a", "s:1", "back", type="women.dresses.midi"),
        photo(1, "s:a", "s:1", "figure", type="women.dresses.midi"),
        photo(2, "s:b", "s:2", "detail", type="bags.totes"),
        name="day-1",
    )
    second = source(
        layouts.RUN,
        photo(1, "s:a", "s:1", "figure", type="women.dresses.maxi"),
        photo(3, "t:c", "t:9", type="bags.totes"),
        name="day-2",
    )
    pictures = list_pictures([first, second], None, "train")
    assert [(p.source, p.name, p.labels["type"]) for p in pictures] == [
        ("s", "s:1", "women.dresses.maxi"),
        ("s", "s:2", "bags.totes"),
        ("t", "t:9", "bags.totes"),
    ]


def test_a_label_is_a_task_of_its_set_and_its_code():
    labelled = [
        photo(n, type=kind, colour=colour, gender="women" if n % 2 else "men")
        for n, (kind, colour) in enumerate([("dress", "red"), ("bag", "blue")] * 4)
    ]
    few = [photo(n, type=kind) for n, kind in enumerate(["dress", "bag", "bag", "bag"])]
    pictures = list_pictures(
        [source("folder", *labelled, name="one"), source("folder", *few, name="two")], None, "train"
    )
    tasks = {task.name: task for task in bank_of(pictures).tasks}
    # Of the second set one class has a single picture.
    assert sorted(tasks) == ["one:colour", "one:gender", "one:type"]
    assert tasks["one:colour"].is_colour and not tasks["one:type"].is_colour
    assert tasks["one:type"].is_contrasted and not tasks["one:gender"].is_contrasted
    assert tasks["one:type"].labels.tolist() == [1, 0] * 4 + [-1] * 4


def test_a_picture_that_cannot_be_seen_is_left_out():
    pictures = list_pictures([source("folder", *(photo(n) for n in range(3)))], None, "train")
    views = ViewDescriptors(
        np.zeros((2, 4), np.float16), np.array([0, 2]), np.zeros(2, np.int64), np.ones(2, bool)
    )
    assert build_bank(pictures, views).product_keys == (pictures[0].product, pictures[2].product)
    with pytest.raises(ValueError, match="nothing to learn: 1 products"):
        build_bank(
            pictures[:1],
            ViewDescriptors(
                views.descriptors[:1], *(a[:1] for a in (views.picture, views.view, views.is_true))
            ),
        )


def test_a_batch_has_several_views_siblings_and_products_of_a_kind():
    photos = [photo(n, f"g{n // 2}", f"p{n}", type="dress" if n < 40 else "bag") for n in range(80)]
    bank = bank_of(list_pictures([source("folder", *photos)], None, "train"), views_count=4)
    index = index_products(bank)
    rows = draw_batch(index, 16, 3, np.random.default_rng([0, 5]))
    again = draw_batch(index, 16, 3, np.random.default_rng([0, 5]))
    assert rows.tolist() == again.tolist() == sorted(set(rows.tolist()))
    products, counts = np.unique(bank.product[rows], return_counts=True)
    assert (counts >= 3).sum() >= 14 and len(products) > 16
    with_sibling = [p for p in products if (p ^ 1) in products]
    assert len(with_sibling) > 12


def test_siblings_are_clean_views_of_two_products_of_an_article():
    photos = [photo(n, f"g{n // 3}", f"p{n}", type="dress" if n < 45 else "bag") for n in range(90)]
    alone = [photo(n, f"alone{n}", f"p{n}", type="bag") for n in range(90, 99)]
    pictures = list_pictures([source("folder", *photos, *alone)], None, "train")
    bank = bank_of(pictures, views_count=4)
    rows = draw_siblings(index_products(bank), 16, np.random.default_rng([0, 5]))
    products = bank.product[rows].reshape(-1, 2)
    assert (bank.view[rows] == CLEAN_VIEW).all()
    assert 10 < len(products) <= 16 + 15
    articles = bank.article_of_product[products]
    assert (articles[:, 0] == articles[:, 1]).all() and (products[:, 0] != products[:, 1]).all()
    assert len(set(articles[:, 0])) == len(articles)
    lonely = bank_of(list_pictures([source("folder", *alone)], None, "train"), views_count=4)
    assert not len(draw_siblings(index_products(lonely), 16, np.random.default_rng(0)))


def test_judgements_become_triplets_by_majority():
    def judge(query, result, verdict, name="ann"):
        return Judgement(name, query, result, RelevanceVerdict(verdict), "women.dresses.midi")

    numbers = {"s:1": 0, "s:2": 1, "s:3": 2, "s:4": 3}
    found = build_triplets(
        [
            judge("s:1", "s:2", "alike"),
            judge("s:1", "s:3", "not_alike"),
            judge("s:1", "s:4", "wrong_category"),
            judge("s:1", "s:4", "alike", "ben"),
            judge("s:1", "s:9", "not_alike"),
            judge("s:2", "s:3", "wrong_category"),
            judge("s:3", "s:1", "unsure"),
        ],
        numbers,
    )
    # The judges of 1 and 4 disagree; 9 is not learned from; of 2 nothing is said to be alike.
    assert found == [(0, 1, 2), (1, 1, 2)]
