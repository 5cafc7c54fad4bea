"""View classifier: what the public datasets imply of views, and the layer that learns them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from wearalike.commands import app
from wearalike.datasets import labelled_photos, layouts
from wearalike.encoding import encoders, hashnet
from wearalike.models import registry
from wearalike.tables import ImageView
from wearalike.training.encoder import view_classifier, view_examples

SKIN, RED, BLUE = (224, 172, 140), (190, 30, 40), (40, 60, 170)
# The last is none that the published photos have.
WORDS = ("null", "skin", "hair", "shirt", "pants", "shoes", "spats")


def figure(number: int, to_feet: bool = True) -> tuple[Image.Image, Image.Image]:
    """Somebody before a striped wall, and the mask."""
    photo, mask = Image.new("RGB", (240, 480), (120, 130, 120)), Image.new("L", (240, 480), 0)
    wall = ImageDraw.Draw(photo)
    for y in range(0, 480, 12):
        wall.line((0, y, 240, y + number), (90, 90, 100), 4)
    shift = 6 * number
    parts = [
        (1, SKIN, (105 + shift, 40, 135 + shift, 90)),
        (2, (40, 30, 20), (105 + shift, 30, 135 + shift, 50)),
        (3, RED, (80 + shift, 90, 160 + shift, 250)),
        (4, BLUE, (90 + shift, 250, 150 + shift, 420)),
        *([(5, (20, 20, 20), (85 + shift, 420, 155 + shift, 450))] if to_feet else []),
        (6, (90, 20, 90), (100 + shift, 300, 110 + shift, 320)),
    ]
    for word, colour, place in parts:
        ImageDraw.Draw(photo).rectangle(place, colour)
        ImageDraw.Draw(mask).rectangle(place, word)
    return photo, mask


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Photos with masks like the public ones: three whole figures, one footless, one unmasked."""
    folder = tmp_path_factory.mktemp("street")
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for number in range(5):
        photo, mask = figure(number, to_feet=number != 3)
        photo.save(folder / "photos" / f"{number}.jpg", quality=92)
        if number != 4:
            mask.save(folder / "masks" / f"{number}.png")
    (folder / "labels.txt").write_text("\n".join(WORDS))
    (folder / "photos.csv").write_text(
        "photo,annotation,tags,split\n" + "".join(f"{n},mask,,train\n" for n in range(5))
    )
    return folder


def thing(colour: tuple[int, int, int], worn: bool) -> Image.Image:
    photo = Image.new("RGB", (200, 240), "white")
    draw = ImageDraw.Draw(photo)
    draw.rectangle((50, 60, 150, 220), colour)
    if worn:
        draw.ellipse((80, 10, 120, 62), SKIN)
    return photo


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue")
    (folder / "images").mkdir()
    rows = ["id,article_type,gender,base_colour,split"]
    for number in range(8):
        kind = ("Shirts", "Shirts", "Casual Shoes", "Spats")[number % 4]
        thing(BLUE, worn=number % 4 != 1).save(folder / "images" / f"{number}.jpg", quality=92)
        rows.append(f"{number},{kind},Men,Blue,{'test' if number > 3 else 'train'}")
    (folder / "products.csv").write_text("\n".join(rows))
    return folder


def of(kind, folder, **more):
    return list(
        view_examples.iterate_examples(kind, labelled_photos.read_dataset(kind, folder), **more)
    )


def test_a_mask_of_a_whole_figure_shows_it_its_parts_and_a_piece(street):
    found = of("ccp", street)
    assert Counter(view for _, view in found) == {
        ImageView.FIGURE: 6,
        ImageView.FRONT: 6,
        ImageView.DETAIL: 3,
    }
    whole, cut_out, upper, lower, detail = (picture.rgb for picture, _ in found[:5])
    assert whole.shape[:2] == (256, 128), "the photo, as the nightly run sees it"
    assert (cut_out[0, 0] > 250).all() and cut_out.shape[0] / cut_out.shape[1] > 4, (
        "the figure alone, on white"
    )
    assert upper.shape[0] / upper.shape[1] < 0.8 * cut_out.shape[0] / cut_out.shape[1]
    assert (upper[-8:].reshape(-1, 3).astype(int) - SKIN).any() and (
        lower[-6, lower.shape[1] // 2] < 60
    ).all(), "down to the shoes"
    assert np.abs(detail.reshape(-1, 3).astype(int) - RED).max(axis=1).mean() < 60, (
        "a piece of the largest garment"
    )
    assert [p.rgb.tobytes() for p, _ in of("ccp", street)] == [p.rgb.tobytes() for p, _ in found], (
        "a function of the seed"
    )


def test_skin_says_that_a_catalogues_garment_is_worn_but_never_of_a_shoe(catalogue):
    found = of("fashion-product-images", catalogue)
    # A worn shirt, one that nobody wears, a shoe; of spats nobody knows what they are.
    assert Counter(view for _, view in found) == {
        ImageView.FRONT: 1,
        ImageView.FLAT: 2,
        ImageView.DETAIL: 3,
    }
    assert len(of("fashion-product-images", catalogue, split="val")) == 0


def test_so_many_of_a_kind_are_enough(street, monkeypatch):
    monkeypatch.setattr(view_examples, "MAX_EXAMPLES_PER_VIEW", 2)
    assert Counter(view for _, view in of("ccp", street)) == {
        ImageView.FIGURE: 2,
        ImageView.FRONT: 2,
        ImageView.DETAIL: 2,
    }


def folder_of(path, views):
    path.mkdir()
    lines = ["image,split,type,view"]
    for number, view in enumerate(views):
        picture = figure(number % 4)[0] if view == "figure" else thing(RED, worn=False)
        picture.save(path / f"{number}.png")
        lines.append(f"{number}.png,train,{'dress' if number % 2 else 'shirt'},{view}")
    (path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("init_from", ["fashion", "likeness"])
def test_the_job_teaches_views_of_a_column_and_the_codes_stay_as_they_are(tmp_path, init_from):
    mine = folder_of(tmp_path / "mine", ["figure", "flat"] * 4)
    labels = (
        (mine / "labels.csv")
        .read_text()
        .replace("6.png,train", "6.png,test")
        .replace("7.png,train", "7.png,test")
    )
    (mine / "labels.csv").write_text(labels)
    known = registry.load_by_name(registry.ModelKind.ENCODER, init_from)
    options = [
        "--data",
        f"folder={mine}",
        "--init-from",
        init_from,
        "--device",
        "cpu",
    ]
    assert (
        app.main(
            [
                "train",
                "view-classifier",
                *options,
                "--version",
                "mine-1",
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    made = registry.read_model(tmp_path / "out" / "mine-1.safetensors")
    assert made.arrays["view.weight"].shape == (len(ImageView), 1280)
    assert (tmp_path / "out" / "views.csv").read_text().splitlines() == [
        "view,predicted,count",
        "figure,figure,1",
        "flat,flat,1",
    ]
    for name, array in hashnet.drop_view_arrays(known.arrays).items():
        assert (made.arrays[name] == array).all(), name
    pictures = [np.asarray(p) for p in (figure(3)[0], thing(BLUE, worn=False), figure(0)[0])]
    predicted, before = (
        encoders.build_encoder(made).encode(pictures),
        encoders.build_encoder(
            replace(known, arrays=hashnet.drop_view_arrays(known.arrays))
        ).encode(pictures),
    )
    assert predicted.views == [ImageView.FIGURE, ImageView.FLAT, ImageView.FIGURE]
    assert (
        (predicted.shape == before.shape).all()
        and (predicted.colour == before.colour).all()
        and before.views == [None] * 3
    )
    alone = [encoders.build_encoder(made).encode([p]).views[0] for p in pictures]
    assert alone == predicted.views
    # Photos that say nothing of views leave what is known of them.
    (mine / "labels.csv").write_text(
        labels.replace(",view", ",colour").replace("figure", "red").replace("flat", "blue")
    )
    options[options.index(init_from)] = str(tmp_path / "out" / "mine-1.safetensors")
    assert (
        app.main(
            [
                "train",
                "view-classifier",
                *options,
                "--version",
                "mine-2",
                "--out",
                str(tmp_path / "again"),
            ]
        )
        == 0
    )
    assert (
        registry.read_model(tmp_path / "again" / "mine-2.safetensors").arrays["view.weight"]
        == made.arrays["view.weight"]
    ).all()
    assert not (tmp_path / "again" / "views.csv").exists()


def test_of_what_it_is_not_sure_the_encoder_says_nothing():
    logits = np.array(
        [[9, 0, 0, 0, 0], [0, 0.1, 0, 0, 0], [0, 0, -1e4, 0, 4.0], [0, 0, -1e4, 0, 2.0]]
    )
    assert encoders._confident_views(logits) == [ImageView.FIGURE, None, ImageView.FLAT, None]
    assert encoders._confident_views(np.empty((2, 0))) == [None, None]


def test_of_a_view_that_nobody_has_shown_the_layer_never_speaks():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 1280)).astype(np.float32)
    rows[:30, 0] += 6
    arrays = view_classifier.fit_logistic_regression(
        rows, [ImageView.FRONT] * 30 + [ImageView.DETAIL] * 30
    )
    strange = rng.normal(scale=50, size=(500, 1280)).astype(np.float32)
    logits = strange @ arrays["view.weight"].astype(np.float32).T + arrays["view.bias"].astype(
        np.float32
    )
    assert {list(ImageView)[i] for i in logits.argmax(axis=1)} == {
        ImageView.FRONT,
        ImageView.DETAIL,
    }
    assert all(np.isfinite(a).all() for a in arrays.values())


def test_a_set_that_says_one_thing_or_nothing_of_views_teaches_none(tmp_path):
    known = registry.load_by_name(registry.ModelKind.ENCODER, "fashion").arrays
    mine = labelled_photos.read_dataset("folder", folder_of(tmp_path / "one", ["flat"] * 4))
    assert view_classifier.train_view_classifier([("folder", mine)], known, 0, "cpu") == {}
    assert view_classifier.train_view_classifier([], known, 0, "cpu") == {}


def test_a_word_that_is_no_view_is_refused_by_name(tmp_path):
    mine = labelled_photos.read_dataset(
        "folder", folder_of(tmp_path / "mine", ["figure", "sideways"])
    )
    with pytest.raises(
        layouts.BadDataset,
        match=r"1\.png: view 'sideways', wanted figure, front, back, detail, flat",
    ):
        list(view_examples.iterate_examples("folder", mine))
