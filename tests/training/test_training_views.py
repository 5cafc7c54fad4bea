"""Drawn views: each is a function of its seed, its mask fits, and says whose colours it shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.training.drawn_shop import COLOURS, draw_thing

from wearalike.training.encoder import item_cutout, street_figures, view_plan
from wearalike.training.encoder.garment_regions import GarmentRegion, find_region
from wearalike.training.encoder.street_figures import StreetFigure, StreetFigures
from wearalike.training.encoder.training_pictures import TrainingPicture
from wearalike.training.encoder.view_plan import ViewScenery, draw_views
from wearalike.training.encoder.worn_views import draw_worn_view

SKIN, WALL = (224, 172, 140), (90, 110, 130)
WORDS = ("null", "skin", "hair", "shirt", "jeans", "shoes", "bag")


def draw_figure() -> StreetFigure:
    """Somebody in a yellow shirt before a wall, with labels."""
    photo, labels = Image.new("RGB", (240, 420), WALL), Image.new("L", (240, 420), 0)
    parts = [
        (1, SKIN, (105, 30, 135, 80)),
        (2, (40, 30, 20), (105, 20, 135, 40)),
        (3, (220, 200, 40), (70, 80, 170, 210)),
        (4, (40, 60, 140), (80, 210, 160, 380)),
        (5, (20, 20, 20), (75, 380, 110, 400)),
        (5, (20, 20, 20), (130, 380, 180, 405)),
    ]
    for number, colour, place in parts:
        ImageDraw.Draw(photo).rectangle(place, colour)
        ImageDraw.Draw(labels).rectangle(place, number)
    return StreetFigure(np.asarray(photo), np.asarray(labels))


@pytest.fixture(scope="module")
def street() -> StreetFigures:
    return StreetFigures([draw_figure()], [np.full((200, 300, 3), 70, np.uint8)], WORDS)


@pytest.fixture
def picture(tmp_path) -> TrainingPicture:
    path = tmp_path / "shirt.png"
    Image.fromarray(draw_thing("shirt", "red", 0)).save(path)
    return TrainingPicture(
        source="shop",
        path=path,
        box=None,
        garment=None,
        labels={"type": "shirt"},
        product="shop:1",
        article="shop:1",
        name="1",
        region=GarmentRegion.UPPER,
        is_flat=None,
    )


def test_a_view_is_a_function_of_its_seed(picture, street):
    scenery = ViewScenery(street, [np.full((90, 90, 3), 120, np.uint8)])
    first, again, other = (draw_views(picture, scenery, [seed, 7]) for seed in (3, 3, 4))
    assert [view.number for view in first] == list(range(view_plan.VIEWS_COUNT))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.square, b.square)
    changed = [(a.square != b.square).any() for a, b in zip(first[1:], other[1:], strict=True)]
    assert all(changed)
    # A view does not depend on the views beside it.
    alone = draw_views(picture, scenery, [3, 7], numbers=[4])
    np.testing.assert_array_equal(alone[0].square, first[4].square)


def test_only_recoloured_views_have_other_colours(picture, street):
    views = [v for s in range(12) for v in draw_views(picture, ViewScenery(street, []), [s])]
    redness = {True: [], False: []}
    for view in views:
        square = view.square.astype(int)
        red = (square[..., 0] > square[..., 1] + 60) & (square[..., 0] > square[..., 2] + 60)
        redness[view.has_true_colours].append(red.mean())
    assert {v.number for v in views if not v.has_true_colours} == {3, 5}
    assert np.median(redness[True]) > 0.15 > 0.1 > np.median(redness[False])


def test_masks_say_where_the_item_is(picture, street):
    views = [v for s in range(8) for v in draw_views(picture, ViewScenery(street, []), [s])]
    known = [v for v in views if v.mask is not None and v.has_true_colours]
    assert {0, 1, 2, 4} <= {v.number for v in known}
    for view in known:
        square = view.square.astype(int)
        cells = square.reshape(28, 8, 28, 8, 3).mean(axis=(1, 3))
        is_red = (cells[..., 0] > cells[..., 1] + 60) & (cells[..., 0] > cells[..., 2] + 60)
        assert is_red[view.mask > 250].mean() > 0.8, view.number
        assert is_red[view.mask == 0].mean() < 0.1, view.number


def test_a_worn_garment_replaces_the_figures_own(street):
    rgba = item_cutout.cut_out_item(draw_thing("shirt", "green", 0))
    for seed in range(6):
        view = draw_worn_view(rgba, GarmentRegion.UPPER, street, np.random.default_rng(seed))
        square, mask = view
        square = square.astype(int)
        yellow = (square[..., :2].min(axis=-1) > square[..., 2] + 80).mean()
        green = (square[..., 1] > square[..., 0] + 40).mean()
        assert green > 4 * yellow and 0.1 < (mask > 128).mean() < 0.9


def test_nobody_wears_what_no_figure_has_a_place_for(street):
    rgba = item_cutout.cut_out_item(draw_thing("skirt", "green", 0))
    bare = StreetFigures([replace(draw_figure(), labels=np.zeros((420, 240), np.uint8))], [], WORDS)
    rng = np.random.default_rng(0)
    assert draw_worn_view(rgba, GarmentRegion.LOWER, bare, rng) is None
    assert draw_worn_view(rgba, GarmentRegion.LOWER, street, rng) is not None


def test_a_pair_of_shoes_is_cut_to_one(street):
    garments = dict(street.iterate_garments())
    assert list(street.iterate_garments()) == [(0, 3), (0, 4), (0, 5)] and len(garments) == 1
    y0, y1, x0, x1 = item_cutout.mask_span(street.garment_mask(0, 5))
    assert (x0, x1) == (130, 181) and (y0, y1) == (380, 406)


def test_street_garments_have_views_without_a_file(street):
    picture = TrainingPicture(
        "street", None, None, (0, 3), {"type": "shirt"}, "a", "a", "a", None, False
    )
    views = draw_views(picture, ViewScenery(street, []), [1])
    assert len(views) == view_plan.VIEWS_COUNT and all(v.mask is not None for v in views)
    with pytest.raises(ValueError, match="needs the photos"):
        draw_views(picture, ViewScenery(None, []), [1])


def test_a_ground_with_a_pattern_leaves_nothing_to_cut_out():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (80, 80, 3), dtype=np.uint8)
    assert item_cutout.cut_out_item(noise) is None and item_cutout.find_item_alpha(noise) is None
    for colour in COLOURS:
        rgba = item_cutout.cut_out_item(draw_thing("bag", colour, 1))
        assert 0.4 < (rgba[..., 3] > 128).mean() < 0.9 and item_cutout.skin_ratio(rgba) < 0.03


def test_skin_is_told_from_cloth():
    worn = Image.new("RGB", (160, 160), "white")
    ImageDraw.Draw(worn).rectangle((50, 60, 110, 150), (190, 30, 40))
    ImageDraw.Draw(worn).ellipse((60, 10, 100, 62), SKIN)
    assert item_cutout.skin_ratio(item_cutout.cut_out_item(np.asarray(worn))) > 0.1


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("T-shirt", GarmentRegion.UPPER),
        ("Night gown", GarmentRegion.FULL),
        ("women.dresses.midi", GarmentRegion.FULL),
        ("men.suits.blazers", GarmentRegion.UPPER),
        ("women.jeans.skinny", GarmentRegion.LOWER),
        ("bags.totes", None),
        ("Hair clip", None),
        ("accessories.belts", None),
        ("", None),
    ],
)
def test_the_name_of_a_type_says_where_it_is_worn(name, region):
    assert find_region(name) is region


def test_width_of_a_torso_is_measured_about_its_middle():
    mask = np.zeros((40, 60), bool)
    mask[:, 20:40] = True
    mask[:, 50:58] = True  # a sleeve
    assert street_figures.torso_width(mask[:, :45], 0.3, 0.7) == (20.0, 29.5)
