"""Every word of the labelled sets means a class or is ignored by name."""

import csv
from pathlib import Path

import pytest

from wearalike.detection import classes
from wearalike.tables import SuperCategory

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def test_classes_are_distinct_and_cover_what_is_compared():
    assert (
        len(set(classes.CLASS_NAMES)) == len(classes.CLASS_NAMES) == len(classes.CLASS_GROUPS) > 15
    )
    assert {g.super_category for g in classes.GARMENT_CLASSES} == set(SuperCategory)
    for words in ("ccp_tags", "article_types", "clothing_dataset_labels"):
        used = [word for g in classes.GARMENT_CLASSES for word in getattr(g, words)]
        ignored = getattr(classes, f"IGNORED_{words.upper()}")
        assert len(used) == len(set(used)) and not set(used) & set(ignored)


def test_words_are_found_ignored_or_refused():
    assert (
        classes.class_of_ccp_tag("jeans")
        == classes.class_of_article_type("Track Pants")
        == classes.class_of_clothing_dataset_label("Pants")
        == classes.class_by_name("trousers")
    )
    assert (
        classes.class_of_ccp_tag("skin") is None
        and classes.class_of_clothing_dataset_label("Skip") is None
        and classes.class_of_article_type("Deodorant") is None
    )
    with pytest.raises(
        classes.UnknownLabel,
        match="article type 'Trouserz' is neither mapped to a class nor ignored",
    ):
        classes.class_of_article_type("Trouserz")


@pytest.mark.skipif(not DATA.exists(), reason="the labelled photos are not here")
def test_every_word_of_the_sets_is_known():
    tags = (DATA / "street" / "labels.txt").read_text().split()
    with (DATA / "myntra" / "products.csv").open() as file:
        types = {row["article_type"] for row in csv.DictReader(file)}
    with (DATA / "clothing" / "images.csv").open() as file:
        labels = {row["label"] for row in csv.DictReader(file)}
    assert len(tags) > 50 and len(types) > 50 and len(labels) > 15
    assert [w for w in tags if classes.class_of_ccp_tag(w)] and [
        w for w in labels if classes.class_of_clothing_dataset_label(w)
    ]
    assert sum(classes.class_of_article_type(w) is not None for w in types) > 50
