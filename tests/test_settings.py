"""An operator's settings are read as meant, or refused with the file and the key."""

import pickle
from pathlib import Path

import pytest
from pydantic import SecretStr

from wearalike import settings

GOOD = """
data_dir = "data"
warehouse = "postgresql://wearalike@127.0.0.1/shop"
device = "cpu"
mappings = "/etc/wearalike/mappings"

[[shops]]
id = "moda"
feed = "https://shop.example/feed?code=${MODA_CODE}"
min_offers = 100
max_drop_ratio = 0.3
allowed_networks = ["127.0.0.0/8"]
allowed_ports = [80, 8080]

[[shops]]
id = "closet"
feed = "https://closet.example/feed.xml"
dialect = "google_atom"
min_request_interval_s = 1
"""


def write(tmp_path, text) -> Path:
    path = tmp_path / "wearalike.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_with_its_defaults(tmp_path):
    found = settings.read_settings(write(tmp_path, GOOD), {"MODA_CODE": "se:cret"})
    assert (
        found.data_dir == tmp_path / "data"
        and found.mappings == Path("/etc/wearalike/mappings")
        and found.spark_master == "local[*]"
    )
    assert found.warehouse.get_secret_value() == "postgresql://wearalike@127.0.0.1/shop"
    assert "postgresql" not in repr(found) and found.device == "cpu"
    assert found.shops == (
        settings.ShopSettings(
            id="moda",
            feed="https://shop.example/feed?code=se:cret",
            min_offers=100,
            max_drop_ratio=0.3,
            allowed_networks=("127.0.0.0/8",),
            allowed_ports=(80, 8080),
            secrets=("se:cret",),
        ),
        settings.ShopSettings(
            id="closet",
            feed="https://closet.example/feed.xml",
            dialect="google_atom",
            min_request_interval_s=1,
        ),
    )
    assert (
        found.shop("closet").max_connections_per_host
        == settings.ShopSettings(id="x", feed="y").max_connections_per_host
    )
    with pytest.raises(
        settings.BadSettings, match="no shop 'nosuch'; the settings name moda, closet"
    ):
        found.shop("nosuch")


def test_the_environment_overrides_the_file(tmp_path):
    found = settings.read_settings(
        write(tmp_path, GOOD),
        {"MODA_CODE": "x", "WEARALIKE_DATA_DIR": "/elsewhere", "WEARALIKE_DEVICE": "cuda"},
    )
    assert (found.data_dir, found.device) == (Path("/elsewhere"), "cuda")


def test_a_mistake_in_the_environment_is_named_with_its_variable(tmp_path):
    with pytest.raises(settings.BadSettings) as error:
        settings.read_settings(
            write(tmp_path, "device = 'cpu'"), {"WEARALIKE_DEVICE": "tpu", "WEARALIKE_LOOKS": ""}
        )
    assert str(error.value) == "$WEARALIKE_DEVICE: device: wanted auto, cpu or cuda, got 'tpu'"


def test_made_in_code_they_read_no_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("WEARALIKE_DEVICE", "cuda")
    assert settings.Settings(data_dir=tmp_path).device == "auto"


def test_they_travel_to_other_processes(tmp_path):
    found = settings.read_settings(write(tmp_path, GOOD), {"MODA_CODE": "se:cret"})
    assert pickle.loads(pickle.dumps(found)) == found
    assert len({*found.shops}) == 2


def test_without_a_file_there_are_defaults_and_no_shops(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = settings.read_settings(None, {})
    assert found.shops == ()
    assert found.warehouse == SecretStr(f"duckdb:{found.data_dir / 'warehouse'}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_dir = [", "not TOML"),
        ("rooot = 'x'", "unknown key 'rooot'"),
        ("data_dir = 3", "data_dir: wanted a text, got 3"),
        ("device = 'tpu'", "device: wanted auto, cpu or cuda"),
        ("shops = 'moda'", r"wanted \[\[shops\]\] tables"),
        ("[[shops]]\nfeed = 'x'", "shop 1: id is missing"),
        ("[[shops]]\nid = 'a'", "shop 'a': feed is missing"),
        ("[[shops]]\nid = 'A b'\nfeed = 'x'", "wanted 1 to 64 letters a-z"),
        ("[[shops]]\nid = '../a'\nfeed = 'x'", "wanted 1 to 64 letters a-z"),
        ("[[shops]]\nid = 'a'\nfeed = 'x'\nflor = 1", "unknown key 'flor'"),
        ("[[shops]]\nid = 'a'\nfeed = 'x'\nmin_offers = '1'", "min_offers: wanted int, got '1'"),
        ("[[shops]]\nid = 'a'\nfeed = 'x'\nmin_offers = true", "min_offers: wanted int, got True"),
        ("[[shops]]\nid = 'a'\nfeed = 'x'\nis_delta = 1", "is_delta: wanted bool, got 1"),
        (
            "[[shops]]\nid = 'a'\nfeed = 'x'\ndialect = 'csv'",
            "dialect: wanted yml, admitad, google",
        ),
        (
            "[[shops]]\nid = 'a'\nfeed = 'x'\nallowed_ports = ['80']",
            "allowed_ports: wanted a list of int",
        ),
        (
            "[[shops]]\nid = 'a'\nfeed = 'x'\nallowed_ports = [70000]",
            "allowed_ports: wanted 65535 or less, got 70000",
        ),
        (
            "[[shops]]\nid = 'a'\nfeed = 'x'\nallowed_networks = ['10.1.2.1/24']",
            "allowed_networks: wanted networks such as 10.1.2.0/24: 10.1.2.1/24 has host bits set",
        ),
        (
            "[[shops]]\nid = 'a'\nfeed = 'x'\nmax_drop_ratio = nan",
            "shop 'a': max_drop_ratio: wanted 0 or more, got nan",
        ),
        ("shops = [1]", r"wanted \[\[shops\]\] tables"),
        (
            "[[shops]]\nid = 'a'\nfeed = 'x'\n[[shops]]\nid = 'a'\nfeed = 'y'",
            "shop 'a' is given twice",
        ),
        ("[[shops]]\nid = 'a'\nfeed = '${NOPE}'", "the environment has no NOPE"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(settings.BadSettings, match=message) as error:
        settings.read_settings(path, {})
    assert str(path) in str(error.value)


def test_a_named_file_must_be_there(tmp_path):
    with pytest.raises(settings.BadSettings, match="no such settings file"):
        settings.read_settings(tmp_path / "nope.toml", {})


def test_what_the_environment_gives_is_struck_out_wherever_it_stands(tmp_path):
    text = '[[shops]]\nid = "a"\nfeed = "https://a.example/${TOKEN}/x?region=${REGION}&h=${HASH}"\n'
    shop = settings.read_settings(
        write(tmp_path, text), {"TOKEN": "top/se cret", "REGION": "eu", "HASH": "top"}
    ).shops[0]
    assert shop.feed.get_secret_value() == "https://a.example/top/se cret/x?region=eu&h=top"
    assert "se cret" not in repr(shop) and "se cret" not in str(shop.model_dump())
    assert shop.redact_secrets(
        f"got {shop.feed.get_secret_value()}, https://a.example/top/se%20cret/x, /top%2Fse%20cret"
    ) == ("got https://a.example/***/x?region=eu&h=top, https://a.example/***/x, /***")
    with pytest.raises(settings.BadSettings, match="unknown key 'secrets'"):
        settings.read_settings(
            write(tmp_path, text + 'secrets = ["x"]\n'),
            {"TOKEN": "top/se cret", "REGION": "eu", "HASH": "top"},
        )


def test_a_warehouse_that_is_no_text_is_not_repeated(tmp_path):
    with pytest.raises(settings.BadSettings, match="warehouse: wanted a text, got list") as bad:
        settings.read_settings(write(tmp_path, 'warehouse = ["postgresql://u:s3cret@h/d"]\n'), {})
    assert "s3cret" not in str(bad.value)
    shop = '[[shops]]\nid = "a"\nfeed = ["https://u:s3cret@h/d"]\n'
    with pytest.raises(settings.BadSettings, match="feed: wanted a text, got list") as bad:
        settings.read_settings(write(tmp_path, shop), {})
    assert "s3cret" not in str(bad.value)


def test_what_the_server_lets_through(tmp_path):
    path = tmp_path / "wearalike.toml"
    path.write_text(
        '[serve]\nrequests_a_minute = 7\nallowed_origins = ["https://shop.example"]\n',
        encoding="utf-8",
    )
    assert settings.read_settings(path, {}).serve == settings.ServerSettings(
        requests_a_minute=7, allowed_origins=("https://shop.example",)
    )
    path.write_text("", encoding="utf-8")
    assert settings.read_settings(path, {}).serve == settings.ServerSettings()
    for text, told in (
        ("serve = 1", "wanted a .serve. table"),
        ("[serve]\nport = 1", "unknown key 'port'"),
        ("[serve]\nrequests_a_minute = 0", "wanted 1 or more, got 0"),
        ("[serve]\nexact_search_max_products = 0", "wanted 1 or more, got 0"),
        ("[serve]\nsearches_a_minute = true", "wanted int, got True"),
        ('[serve]\nallowed_origins = "*"', "wanted a list of str"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(settings.BadSettings, match=told):
            settings.read_settings(path, {})


def test_supplements_read_the_environment_and_need_a_whole_feed(tmp_path):
    path = tmp_path / "wearalike.toml"
    shop = '[[shops]]\nid = "a"\nfeed = "https://a.example/f?k=${FEED_KEY}"\n'
    supplements = (
        'supplements = ["https://a.example/stock?k=${STOCK_KEY}", "https://a.example/x"]\n'
    )
    path.write_text(shop + supplements)
    env = {"FEED_KEY": "secret-1", "STOCK_KEY": "secret-22"}
    (found,) = settings.read_settings(path, env).shops
    assert [one.get_secret_value() for one in found.supplements] == [
        "https://a.example/stock?k=secret-22",
        "https://a.example/x",
    ]
    assert found.redact_secrets("secret-22 and secret-1") == "*** and ***"
    with pytest.raises(
        settings.BadSettings, match="shop 'a': supplements: the environment has no STOCK_KEY"
    ):
        settings.read_settings(path, {"FEED_KEY": "secret-1"})
    path.write_text(shop + supplements + "is_delta = true\n")
    with pytest.raises(
        settings.BadSettings, match="supplements need a whole feed; is_delta is true"
    ):
        settings.read_settings(path, env)
    path.write_text(shop + "supplements = [1]\n")
    with pytest.raises(settings.BadSettings, match="shop 'a': supplements"):
        settings.read_settings(path, env)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("variants.b.rules = 'b.xml'", "experiment: name is missing"),
        ("name = 'Winter'\nvariants.b.rules = 'b.xml'", "experiment: name: wanted 1 to 64 lower"),
        ("name = 'w'", "experiment: variants is missing"),
        ("name = 'w'\nvariants = {}", "experiment: variants: wanted an [experiment.variants.NAME]"),
        ("name = 'w'\nvariants.b = 3", "experiment: variant 'b': wanted a table of share, weights"),
        ("name = 'w'\nvariants.b = {}", "experiment: variant 'b': wanted weights, rules or an enc"),
        ("name = 'w'\nvariants.control.rules = 'b.xml'", "'control' is no name of a variant"),
        ("name = 'w'\nvariants.b.encoder = 'A b'", "variant 'b': encoder: wanted a model's name"),
        (
            "name = 'w'\nvariants.b.weights = '3:7'",
            "variant 'b': weights: wanted SHAPE:COLOUR:KIND",
        ),
        (
            "name = 'w'\nvariants.b.weights.bags = '0:0:3'",
            "weights: bags: wanted SHAPE:COLOUR:KIND",
        ),
        ("name = 'w'\nvariants.b.rules = '../b.xml'", "variant 'b': rules: wanted the name of a"),
        (
            "name = 'w'\nvariants.b = {rules = 'b.xml', share = 2.0}",
            "'b': share: wanted 0.0001 to 1",
        ),
        (
            "name = 'w'\nvariants.b = {rules = 'b.xml', share = 0.7}\n"
            "variants.c = {rules = 'c.xml', share = 0.4}",
            "experiment: variants: wanted shares that add up to 1 at most, got 1.1",
        ),
        (
            "name = 'w'\nassignment = 'interleave'\nvariants.b.rules = 'b.xml'\n"
            "variants.c.rules = 'c.xml'",
            "experiment: variants: wanted one, which takes turns with the control, got 2",
        ),
    ],
)
def test_a_wrong_experiment_is_said_in_one_sentence(tmp_path, text, said):
    path = tmp_path / "wearalike.toml"
    path.write_text(f"data_dir = 'root'\n[experiment]\n{text}\n")
    with pytest.raises(settings.BadSettings) as error:
        settings.read_settings(path, {})
    assert str(error.value).startswith(f"{path}: experiment: ") and said in str(error.value)
    assert "\n" not in str(error.value)
