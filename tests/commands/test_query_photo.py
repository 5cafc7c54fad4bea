"""`wearalike query`: photos from files, addresses and standard input."""

import base64
import io
import shutil

import pytest
from tests.support.http_server import serve_folder

from wearalike import settings
from wearalike.commands import app
from wearalike.storage import content_cache, run_tables
from wearalike.tables import INDEXES


@pytest.fixture(scope="module")
def place(night, tmp_path_factory):
    """The night, copied: each answer becomes a row of the warehouse."""
    folder = tmp_path_factory.mktemp("asked")
    shutil.copytree(night / "root", folder / "root", symlinks=True)
    text = (night / "wearalike.toml").read_text(encoding="utf-8").replace(str(night), str(folder))
    (folder / "wearalike.toml").write_text(text, encoding="utf-8")
    return settings.read_settings(folder / "wearalike.toml")


@pytest.fixture(scope="module")
def photo(place) -> bytes:
    entries = run_tables.read_table(place.data_dir, INDEXES, "day-1").to_pylist()
    entry = next(e for e in entries if e["product_id"] == "harbour:1001")
    return content_cache.image_path(place.data_dir, entry["image_id"]).read_bytes()


def query(place, *photos: str, options: tuple[str, ...] = ()) -> int:
    config = place.data_dir.parent / "wearalike.toml"
    return app.main(["query", "--config", str(config), "--k", "2", *options, "--", *photos])


def answers(printed: str) -> list[str]:
    """The lines that do not name the photo."""
    return [line for line in printed.splitlines() if line.startswith("  ")]


def test_a_file_an_address_and_an_upload_give_one_answer(
    place, photo, tmp_path, capsys, monkeypatch
):
    (tmp_path / "x.jpg").write_bytes(photo)
    assert query(place, str(tmp_path / "x.jpg")) == 0
    of_file = answers(capsys.readouterr().out)
    assert of_file
    with serve_folder(tmp_path) as address:
        # The sample shops' network is loopback, so the guard lets it pass.
        assert query(place, f"{address}/x.jpg?token=secret") == 0
    printed = capsys.readouterr().out
    assert answers(printed) == of_file and "secret" not in printed
    upload = b"data:image/jpeg;base64," + base64.b64encode(photo)
    for given in (photo, upload):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert query(place, "-") == 0
        assert answers(capsys.readouterr().out) == of_file
    assert len(list((place.data_dir / "photo_queries").glob("*/answer.json"))) == 1


@pytest.mark.parametrize(
    ("photo_address", "said"),
    [
        ("http://169.254.169.254/latest/meta-data", "private_address"),
        ("http://10.1.2.3/x.jpg", "private_address"),
        ("http://[::1]:22/x.jpg", "private_address"),
    ],
)
def test_an_address_that_is_not_public_is_refused(place, photo_address, said, caplog):
    # No model is loaded for it, so one that is not there is not missed.
    assert query(place, photo_address, options=("--detector", "none-1")) == 1
    assert said in caplog.text and "1 of 1 photos could not be read" in caplog.text


def test_an_address_without_a_photo_is_told_and_the_others_are_answered(
    place, photo, tmp_path, caplog, capsys
):
    (tmp_path / "x.jpg").write_bytes(photo)
    (tmp_path / "page.jpg").write_text("<html>no photo</html>")
    with serve_folder(tmp_path) as address:
        photos = [f"{address}/{name}" for name in ("none.jpg", "page.jpg", "x.jpg")]
        assert query(place, *photos) == 1
    assert "http_404" in caplog.text and "not_a_picture" in caplog.text
    assert "2 of 3 photos could not be read" in caplog.text
    assert answers(capsys.readouterr().out)


def test_a_data_url_that_is_none_is_refused(place, monkeypatch, caplog):
    for given in (b"data:image/png,AAAA", b"data:image/png;base64,***"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert query(place, "-") == 1
        assert "wanted data:image" in caplog.text
        caplog.clear()
