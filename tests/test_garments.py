"""Every word of the labelled sets means a class or is ignored by name."""

import csv
from pathlib import Path

import pytest

from wearalike import garments
from wearalike.tables import SuperCategory

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def test_classes_are_distinct_and_cover_what_is_compared():
    assert len(set(garments.CLASSES)) == len(garments.CLASSES) == len(garments.GROUPS) > 15
    assert {g.super_category for g in garments.GARMENTS} == set(SuperCategory)
    for words in ("street", "catalogue", "own"):
        used = [word for g in garments.GARMENTS for word in getattr(g, words)]
        ignored = getattr(garments, f"IGNORED_{words.upper()}")
        assert len(used) == len(set(used)) and not set(used) & set(ignored)


def test_words_are_found_ignored_or_refused():
    assert garments.of_street("jeans") == garments.of_catalogue("Track Pants") == garments.of_own("Pants") == garments.of_name("trousers")
    assert garments.of_street("skin") is None and garments.of_own("Skip") is None and garments.of_catalogue("Deodorant") is None
    with pytest.raises(garments.BadWord, match="article type 'Trouserz' is neither mapped to a class nor ignored"):
        garments.of_catalogue("Trouserz")


@pytest.mark.skipif(not DATA.exists(), reason="the labelled photos are not here")
def test_every_word_of_the_sets_is_known():
    tags = (DATA / "street" / "labels.txt").read_text().split()
    with (DATA / "myntra" / "products.csv").open() as file:
        types = {row["article_type"] for row in csv.DictReader(file)}
    with (DATA / "clothing" / "images.csv").open() as file:
        labels = {row["label"] for row in csv.DictReader(file)}
    assert len(tags) > 50 and len(types) > 50 and len(labels) > 15
    assert [w for w in tags if garments.of_street(w)] and [w for w in labels if garments.of_own(w)]
    assert sum(garments.of_catalogue(w) is not None for w in types) > 50
