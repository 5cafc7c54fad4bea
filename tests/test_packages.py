"""Every package that is imported is declared, and the library works without those of extras."""

import ast
import re
import subprocess
import sys
import textwrap
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from tests.security.test_supply import plain

from wearalike import extras

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {
    name: {plain(re.match(r"[\w.-]+", text)[0]) for text in texts}
    for name, texts in PROJECT["optional-dependencies"].items()
}
BASE = {plain(re.match(r"[\w.-]+", text)[0]) for text in PROJECT["dependencies"]}
# Packages that other projects split over several distributions.
_SPLIT = {"airflow": {"apache-airflow"}, "psycopg": {"psycopg"}, "matplotlib": {"matplotlib"}}


def imported_modules() -> dict[str, set[str]]:
    """Return the files that import each top-level module of others."""
    found: dict[str, set[str]] = {}
    for folder in ("lib", "jobs", "dags"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module]
                for name in (name.partition(".")[0] for name in names):
                    if name not in sys.stdlib_module_names and name != "wearalike":
                        found.setdefault(name, set()).add(str(path.relative_to(REPOSITORY)))
    return found


def test_every_imported_package_is_declared():
    distributions = packages_distributions()
    modules = imported_modules()
    assert len(modules) > 30
    declared = BASE.union(*EXTRAS.values())
    for module, files in modules.items():
        named = _SPLIT.get(module) or {plain(name) for name in distributions[module]}
        assert named & declared, f"{module} ({', '.join(sorted(named))}), imported by {files}"


def test_each_extra_brings_the_modules_that_messages_say():
    distributions = packages_distributions()
    modules = imported_modules()
    for module in modules:
        named = _SPLIT.get(module) or {plain(name) for name in distributions[module]}
        extra = extras.EXTRA_BY_MODULE.get(module)
        assert named & (EXTRAS[extra] if extra else BASE), module
    # FastAPI imports it for forms.
    assert extras.EXTRA_BY_MODULE.keys() - modules.keys() == {"python_multipart"}


BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(extras.EXTRA_BY_MODULE)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def run_without_extras(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program where no package of an extra can be imported."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=REPOSITORY,
    )


def test_a_plain_install_reads_feeds_encodes_and_searches():
    program = """
        from pathlib import Path
        import numpy as np
        import pyarrow as pa
        import wearalike
        from wearalike import feeds, search
        from wearalike.encoding import encoders
        from wearalike.settings import ShopSettings

        shop = ShopSettings(id="s", feed="http://shop.example/")
        records = feeds.read_offers(Path("tests/data/feeds/yml.xml"), shop)
        offers = [record for record in records if isinstance(record, feeds.Offer)]

        encoder = encoders.load_packaged_encoder("fashion")
        ramp = np.arange(224 * 224 * 3, dtype=np.uint32).reshape(224, 224, 3)
        crops = [(ramp // step % 256).astype(np.uint8) for step in (1, 1, 300)]
        encoded = encoder.encode(crops)
        codes = np.concatenate([encoded.shape, encoded.colour], axis=1)

        ids = ["s:0", "s:1", "s:2"]
        every = {"brand": pa.nulls(3, pa.string()), "group_id": pa.nulls(3, pa.string())}
        for name, value in {
            "shop_id": "s", "availability": "in_stock", "gender": "female", "age_group": "adult",
            "category": "shoes", "price_cents": 100, "currency": "EUR", "shape_weight": 2,
            "colour_weight": 8,
        }.items():
            every[name] = pa.array([value] * 3, pa.int32() if "weight" in name else None)
        every["article_id"] = pa.array(ids)
        # Equal codes of one shop are one picture, so the twin is of another shop.
        every["shop_id"] = pa.array(["s", "t", "s"])
        gallery = search.build_gallery(
            pa.table({"product_id": ids, "item_id": ids}),
            codes,
            pa.table({"product_id": ids, **every}),
        )
        lists = list(search.search_gallery(gallery, 0, 3, search.ListRules(k=1)))
        matches = search.build_matches(gallery, lists).to_pylist()
        first = matches[0]
        print(len(offers), first["product_id"], first["results"][0]["product_id"])
    """
    done = run_without_extras(program)
    assert done.returncode == 0, done.stderr[-3000:]
    count, product, similar = done.stdout.split()
    # Equal crops lead to each other.
    assert int(count) > 1 and (product, similar) == ("s:0", "s:1")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["serve"], "server"),
        (["evaluate", "--help"], "evaluation"),
        (["rollback"], "postgres"),
    ],
)
def test_a_command_names_the_extra_that_it_lacks(tmp_path, arguments, extra):
    (tmp_path / "wearalike.toml").write_text(
        'data_dir = "data"\nwarehouse = "postgresql://me@127.0.0.1:1/shop"\n', encoding="utf-8"
    )
    program = """
        import os
        from wearalike.commands import app

        os.chdir(sys.argv.pop(1))
        sys.exit(app.main(sys.argv[1:]))
    """
    done = run_without_extras(program, str(tmp_path), *arguments)
    assert done.returncode == 1
    assert f"is not installed: pip install 'wearalike[{extra}]'" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_airflow_and_spark_stay_where_they_run():
    modules = imported_modules()
    for module, places in {
        "airflow": ("dags/", "lib/wearalike/airflow/"),
        "pyspark": ("lib/wearalike/pipeline/spark",),
        "py4j": ("lib/wearalike/pipeline/spark",),
    }.items():
        assert all(path.startswith(places) for path in modules[module]), modules[module]
