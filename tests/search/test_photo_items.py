"""The items of a photo, and for whom: bare legs are no hosiery, the nearest products vote."""

import numpy as np
import pytest

from wearalike import settings
from wearalike.detection import detect
from wearalike.search import photo_audience, photo_items
from wearalike.search.photo_query import PhotoQuery
from wearalike.search.photo_search import PhotoSearch
from wearalike.storage import content_cache, run_tables
from wearalike.tables import INDEXES, SuperCategory


def crop_of(colour: tuple[int, int, int]) -> np.ndarray:
    """A crop of one colour, as uneven as cloth and skin are."""
    noise = np.random.default_rng(3).integers(-8, 9, (80, 40, 1))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def box_of(class_name: str, confidence: float) -> detect.Box:
    return detect.Box(0, 0, 40, 80, confidence, SuperCategory.UNDERWEAR, class_name)


SKINS = [(224, 172, 143), (198, 134, 98), (141, 85, 62), (92, 58, 44)]
CLOTHS = [(20, 20, 24), (235, 235, 235), (60, 70, 120), (90, 90, 90)]


@pytest.mark.parametrize("colour", SKINS)
def test_unsure_hosiery_in_the_colours_of_skin_is_bare_legs(colour):
    assert photo_items.is_bare_skin(box_of("hosiery", 0.45), crop_of(colour))
    assert not photo_items.is_bare_skin(box_of("hosiery", 0.7), crop_of(colour))
    # Nude underwear and shoes have the colours of skin as well.
    assert not photo_items.is_bare_skin(box_of("underwear", 0.45), crop_of(colour))


@pytest.mark.parametrize("colour", CLOTHS)
def test_hosiery_in_other_colours_is_kept(colour):
    assert not photo_items.is_bare_skin(box_of("hosiery", 0.31), crop_of(colour))


@pytest.mark.parametrize(
    ("genders", "guess"),
    [
        (["female"] * 7 + ["male"] * 3, "female"),
        (["male"] * 5 + ["unisex"] * 20 + [None] * 3, "male"),
        (["female"] * 6 + ["male"] * 4, None),
        (["female"] * 4, None),
        ([], None),
    ],
)
def test_a_clear_majority_says_for_whom(genders, guess):
    assert photo_audience.guess_gender(genders) == guess


def test_a_photo_is_searched_for_whom_it_shows(night):
    """Whatever is guessed, the lists are those of who asks for it."""
    made = settings.read_settings(night / "wearalike.toml")
    search = PhotoSearch(made, "day-1")
    entries = run_tables.read_table(made.data_dir, INDEXES, "day-1").to_pylist()
    guesses = []
    for entry in entries[:60:3]:
        content = content_cache.image_path(made.data_dir, entry["image_id"]).read_bytes()
        guessed = search.search(content, PhotoQuery(guesses_gender=True))
        asked = search.search(content, PhotoQuery(gender=guessed.gender))
        assert guessed.items == asked.items and guessed.query_id != asked.query_id
        assert guessed.is_gender_guessed == (guessed.gender is not None)
        assert not asked.is_gender_guessed and asked.gender == guessed.gender
        guesses.append(guessed.gender)
    assert set(guesses) >= {None, "female"}, guesses
