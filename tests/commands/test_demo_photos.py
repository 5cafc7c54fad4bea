"""The demo on photos: a folder or an archive of photos becomes a shop that a night can read."""

import csv
import hashlib
import importlib
import io
import zipfile
from pathlib import Path

import pytest
from lxml import etree

from wearalike import catalog, sample, settings
from wearalike.commands import app, run_demo_photos
from wearalike.sample import photos
from wearalike.sample.catalogue import SHOPS, list_products
from wearalike.sample.painting import encode_jpeg
from wearalike.sample.pictures import draw_picture
from wearalike.sample.server import serve_responses
from wearalike.storage import run_tables
from wearalike.tables import FEEDS, IMAGES, PRODUCTS

REPOSITORY = Path(__file__).resolve().parents[2]
LABELS = ("T-Shirt", "Dress", "Pants", "Shoes")


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> Path:
    """A dozen drawn pictures with an images.csv, of which one is of no label,
    and one is listed and not there.
    """
    folder = tmp_path_factory.mktemp("photos") / "clothing-dataset-master"
    (folder / "images").mkdir(parents=True)
    pictures = [
        encode_jpeg(draw_picture(p.pictures[0]))
        for p in list_products(SHOPS[1], 1)
        if p.pictures and not p.flaw
    ][:12]
    rows = [("gone", "Dress", "False"), ("other", "Not sure", "False")]
    (folder / "images" / "other.jpg").write_bytes(pictures[0])
    for number, picture in enumerate(pictures):
        rows.append((f"photo-{number}", LABELS[number % 4], str(number >= 8)))
        (folder / "images" / f"photo-{number}.jpg").write_bytes(picture)
    with (folder / "images.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "label", "kids"), *rows])
    return folder.parent


def test_a_folder_with_a_list(listed):
    found = photos.list_photos(listed)
    assert {p.name for p in found} == {f"photo-{n}" for n in range(12)}
    by_name = {p.name: p for p in found}
    assert (by_name["photo-1"].label, by_name["photo-1"].section) == ("Dress", "Dresses")
    assert by_name["photo-10"].section == "Kids > Bottoms > Trousers"
    assert photos.list_photos(listed, 5) == found[:5] and len({p.label for p in found[:8]}) > 2


def test_one_folder_a_label(listed, tmp_path):
    for photo in photos.list_photos(listed):
        there = tmp_path / "train" / photo.label.lower() / photo.path.name
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(photo.path.read_bytes())
    (tmp_path / "train" / "cars").mkdir()
    (tmp_path / "train" / "cars" / "car.jpg").write_bytes(b"car")
    found = photos.list_photos(tmp_path)
    assert len(found) == 12 and {p.label for p in found} == {label.lower() for label in LABELS}


def test_a_folder_of_other_things_is_refused(tmp_path, caplog):
    assert (
        app.main(["demo-photos", "--photos", str(tmp_path), "--folder", str(tmp_path / "demo")])
        == 1
    )
    assert "wanted images.csv beside images/" in caplog.text
    (tmp_path / "images.csv").write_text("file,label\na,Dress\n", encoding="utf-8")
    assert (
        app.main(["demo-photos", "--photos", str(tmp_path), "--folder", str(tmp_path / "demo")])
        == 1
    )
    assert "no column 'image'" in caplog.text


def test_the_mapping_knows_every_section():
    place = settings.Settings(
        data_dir=Path("unused"), warehouse="unused", mappings=REPOSITORY / "mappings"
    )
    taxonomy = catalog.read_taxonomy(place.mappings / "taxonomy.xml")
    text = etree.parse(catalog.mapping_path(place, photos.SHOP_ID))
    assert catalog.read_mapping(catalog.mapping_path(place, photos.SHOP_ID), taxonomy)
    mapped = {line.get("path") for line in text.iter("map")}
    assert len(photos.SECTION_OF_LABEL) == 17
    assert {
        *photos.SECTION_OF_LABEL.values(),
        *(f"Kids > {section}" for section in photos.SECTION_OF_LABEL.values()),
    } <= mapped


def test_the_night_takes_the_shop_s_photos(listed, tmp_path):
    """The jobs that see a shop; what follows is the same for every shop (test_night)."""
    found = photos.list_photos(listed)
    config = tmp_path / "wearalike.toml"
    with photos.serve_photo_shop(found) as feed:
        config.write_text(
            sample.settings_text(
                {photos.SHOP_ID: feed}, tmp_path / "root", REPOSITORY / "mappings"
            ),
            encoding="utf-8",
        )
        for name in ("ingest_feeds", "map_products", "download_images"):
            assert (
                importlib.import_module(f"wearalike.pipeline.{name}").main(
                    ["--run", "r1", "--config", str(config)]
                )
                == 0
            )
    root = tmp_path / "root"
    (shop,) = run_tables.read_table(root, FEEDS, "r1").to_pylist()
    assert (shop["status"], shop["dialect"], shop["written_count"], shop["refused_count"]) == (
        "fresh",
        "yml",
        12,
        0,
    )
    by_id = {p["product_id"]: p for p in run_tables.read_table(root, PRODUCTS, "r1").to_pylist()}
    assert len(by_id) == 12 and {p["gender"] for p in by_id.values()} == {"unisex"}
    assert (
        by_id["closet:photo-1"]["category"] == "women.dresses.other"
        and by_id["closet:photo-11"]["age_group"] == "kids"
    )
    held = {
        i["product_id"]: i["image_id"]
        for i in run_tables.read_table(root, IMAGES, "r1").to_pylist()
    }
    assert held == {
        f"closet:{p.name}": hashlib.sha256(p.path.read_bytes()).hexdigest() for p in found
    }


# The archive


def packed(folder: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(folder))
    return out.getvalue()


def test_an_archive_is_used_only_if_it_is_the_one_meant(listed, tmp_path, caplog):
    content, asked = packed(listed), []

    def answer(path: str, address: str) -> tuple[bytes, str] | None:
        asked.append(path)
        return (content, "application/zip") if path == "/master.zip" else None

    right, allow = hashlib.sha256(content).hexdigest(), ("127.0.0.1/32",)
    with serve_responses(answer) as address:
        command = [
            "demo-photos",
            "--address",
            f"{address}/master.zip",
            "--folder",
            str(tmp_path),
            "--allow",
            allow[0],
        ]
        assert app.main(command) == 1
        assert "--address and --sha256 want each other" in caplog.text
        assert app.main([*command, "--sha256", "0" * 64]) == 1
        assert f"sha256 {right}, wanted {'0' * 64}; nothing of it is used" in caplog.text
        assert not [p for p in tmp_path.rglob("*") if p.is_file()]
        assert app.main([*command[:5], "--sha256", right]) == 1
        assert "private_address" in caplog.text
        there = run_demo_photos.fetch_archive(tmp_path, f"{address}/master.zip", right, allow)
        count = len(asked)
        assert (
            there == run_demo_photos.fetch_archive(tmp_path, f"{address}/master.zip", right, allow)
            and len(asked) == count
        )
    assert [p.name for p in photos.list_photos(there)] == [
        p.name for p in photos.list_photos(listed)
    ]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "arguments", [[], ["--photos", "a", "--address", "b"], ["--address", "a", "--sha256", "feed"]]
)
def test_bad_usage(arguments):
    with pytest.raises(SystemExit) as ended:
        app.main(["demo-photos", *arguments])
    assert ended.value.code == 2
