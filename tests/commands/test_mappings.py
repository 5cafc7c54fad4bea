"""`wearalike suggest-mapping` and `check-mapping`, as one types them in a new deployment."""

import shutil
from pathlib import Path

import pytest
from tests.support.http_server import serve_folder

from wearalike import sample
from wearalike.commands import app
from wearalike.pipeline.__main__ import main as run_stage
from wearalike.settings import today
from wearalike.storage import run_tables
from wearalike.tables import FEEDS

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """A folder with settings and no shop mapped; the sample shops are served meanwhile."""
    mappings = tmp_path / "mappings"
    shutil.copytree(REPOSITORY / "mappings", mappings, ignore=shutil.ignore_patterns("*shops*"))
    (mappings / "shops").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WEARALIKE_CONFIG", raising=False)
    with sample.serve_shops() as address:
        sample.write_settings(tmp_path / "wearalike.toml", address, tmp_path / "root", mappings)
        yield tmp_path


def test_the_way_the_docs_lead(deployment, capsys, caplog):
    """Read the feeds, draft a mapping, check it: in that order, and told what comes first."""
    assert app.main(["suggest-mapping", "lipa"]) == 1
    assert "python -m wearalike.pipeline ingest_feeds" in caplog.text
    # Without --run a run is of today.
    assert run_stage(["ingest_feeds"]) == 0
    run = today().isoformat()
    assert run_tables.list_runs(deployment / "root", FEEDS) == [run]
    assert run_tables.read_manifest(deployment / "root", FEEDS, run)["day"] == run
    mapping = deployment / "mappings" / "shops" / "lipa.xml"
    capsys.readouterr()
    assert app.main(["suggest-mapping", "lipa"]) == 0
    mapping.write_text(capsys.readouterr().out, encoding="utf-8")
    assert app.main(["check-mapping", "lipa"]) == 1
    assert "no active line" in capsys.readouterr().out
    mapping.write_text("", encoding="utf-8")
    assert app.main(["suggest-mapping", "lipa", "--accept", "0.8"]) == 0
    mapping.write_text(capsys.readouterr().out, encoding="utf-8")
    assert app.main(["check-mapping", "lipa"]) == 0
    assert run_stage(["map_products"]) == 0
    assert "harbour: " in caplog.text and "suggest-mapping harbour drafts" in caplog.text


def test_a_night_that_maps_nothing_ends_with_its_page_and_the_shops_words(deployment, caplog):
    assert app.main(["run", "--run", "2026-11-21"]) == 1
    page = deployment / "root" / "quality" / "run=2026-11-21" / "quality.html"
    assert "no offer is mapped to a category" in caplog.text and str(page) in caplog.text
    text = page.read_text(encoding="utf-8")
    assert "Женщинам &gt; Юбки" in text or "Женщинам > Юбки" in text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "command",
    [
        ["run"],
        ["rollback"],
        ["serve"],
        ["export", "--out", "x.jsonl"],
        ["check-mapping"],
        ["suggest-mapping", "lipa"],
        ["describe-items"],
        ["doctor"],
        ["promote", "--kind", "encoder", "--rollback"],
        ["query", "photo.jpg"],
    ],
    ids=lambda words: words[0],
)
def test_a_folder_that_is_no_deployment_is_said(command, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    for name in ("WEARALIKE_CONFIG", "WEARALIKE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert app.main(command) == 1
    assert f"{tmp_path}: no wearalike.toml here" in caplog.text
    assert "wearalike init" in caplog.text
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_settings_without_a_data_folder_are_refused(tmp_path, caplog):
    config = tmp_path / "wearalike.toml"
    config.write_text('device = "cpu"\n', encoding="utf-8")
    assert app.main(["rollback", "--config", str(config)]) == 1
    assert f"{config}: data_dir is missing" in caplog.text


def test_googles_categories_stand_in_for_a_mapping(deployment, capsys, caplog):
    """Such a shop has nothing to draft, and neither no mapping nor an empty one is its mistake."""
    caplog.set_level("INFO")
    feed = (
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><item><g:id>1</g:id>'
        "<g:title>Dress</g:title><g:price>5 EUR</g:price><g:availability>in stock</g:availability>"
        "<g:image_link>https://shop.example/1.jpg</g:image_link>"
        "<g:google_product_category>{}</g:google_product_category></item></channel></rss>"
    )
    with serve_folder(deployment) as address, (deployment / "wearalike.toml").open("a") as settings:
        for shop_id, google_category in (("dresses", 2271), ("books", 783)):
            (deployment / f"{shop_id}.xml").write_text(feed.format(google_category))
            settings.write(f'\n[[shops]]\nid = "{shop_id}"\nfeed = "{address}/{shop_id}.xml"\n')
            settings.write('allowed_networks = ["127.0.0.0/8"]\n')
        settings.flush()
        assert app.main(["check-mapping", "dresses"]) == 1  # nobody has read its feed yet
        assert run_stage(["ingest_feeds"]) == 0
    assert app.main(["check-mapping", "dresses"]) == 0
    capsys.readouterr()
    assert app.main(["suggest-mapping", "dresses", "--accept", "0.8"]) == 0
    assert "dresses: every category is mapped already" in caplog.text
    draft = capsys.readouterr().out
    for shop_id, status in (("dresses", 0), ("books", 1)):
        mapping = deployment / "mappings" / "shops" / f"{shop_id}.xml"
        mapping.write_text(draft.replace("dresses", shop_id), encoding="utf-8")
        assert app.main(["check-mapping", shop_id]) == status
