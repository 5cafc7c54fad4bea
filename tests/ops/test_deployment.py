"""What `wearalike init` writes runs: settings load, mappings hold, DAGs parse,
a PostgreSQL takes its script and keeps its roles apart.
"""

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from tests.support.http_server import serve_folder
from tests.support.postgres_server import start_server
from tests.warehouse.test_warehouse import night

from wearalike import __version__, settings
from wearalike.commands import app
from wearalike.models.kept_networks import KEPT_FOLDER
from wearalike.ops.deployment import create
from wearalike.sample.catalogue import SHOPS
from wearalike.tables import PUBLISHED_TABLES
from wearalike.warehouse.base import open_warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
# A tag that says everything: name:1.2.3, maybe with what it stands on.
PINNED = re.compile(r"[\w./-]+:\d+(\.\d+)+(-[\w.-]+)?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("init") / "deployment"
    assert app.main(["init", str(made), "--sample"]) == 0
    return made


def secrets(path: Path) -> dict[str, str]:
    return dict(
        line.split("=", 1)
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\w+=", line)
    )


def test_the_repository_s_own_files_are_copied(folder):
    for name in ("dags", "sql"):
        ours = sorted(
            p.relative_to(REPOSITORY / name)
            for p in (REPOSITORY / name).rglob("*.*")
            if "__pycache__" not in p.parts
        )
        assert len(ours) >= 2
        assert sorted(p.relative_to(folder / name) for p in (folder / name).rglob("*.*")) == ours
        for path in ours:
            assert (folder / name / path).read_bytes() == (REPOSITORY / name / path).read_bytes()
    assert {p.stem for p in (folder / "mappings" / "shops").iterdir()} == {
        shop.id for shop in SHOPS
    }
    assert not any(
        "@VERSION@" in p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file()
    )


def test_its_settings_load_and_its_mappings_hold(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    found = settings.read_settings(None, {})
    assert found.data_dir == folder / "data" and found.mappings == folder / "mappings"
    assert [shop.id for shop in found.shops] == [shop.id for shop in SHOPS]
    assert app.main(["check-mapping"]) == 0
    assert f"no mistakes in {', '.join(shop.id for shop in SHOPS)}" in capsys.readouterr().out


def test_without_sample_shops_there_is_none_and_the_rest_is_the_same(folder, tmp_path):
    files = {p.relative_to(tmp_path) for p in create.create_deployment(tmp_path)}
    assert settings.read_settings(tmp_path / "settings" / "wearalike.toml", {}).shops == ()
    with_sample = {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}
    assert (
        with_sample - files == {Path("mappings", "shops", f"{shop.id}.xml") for shop in SHOPS}
        and files < with_sample
    )
    # The lines that are to be taken out of their comment are right.
    text = (tmp_path / "settings" / "wearalike.toml").read_text(encoding="utf-8")
    shop = re.sub(r"^# ?", "", text[text.index("# [[shops]]") :], flags=re.MULTILINE)
    (tmp_path / "one.toml").write_text(shop, encoding="utf-8")
    assert (
        settings.read_settings(tmp_path / "one.toml", {"NEWSHOP_CODE": "7"})
        .shops[0]
        .feed.get_secret_value()
        .endswith("code=7")
    )


def test_settings_that_an_editor_replaces_are_read(folder, tmp_path, monkeypatch):
    """By the path that compose mounts, and by default in the deployment's folder."""
    compose = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))
    dockerfile = (folder / "Dockerfile").read_text(encoding="utf-8")
    (config,) = re.findall(r"^ENV WEARALIKE_CONFIG=(\S+)", dockerfile, re.MULTILINE)
    for name in ("scheduler", "server", "api-server", "dag-processor"):
        targets = dict(mount.split(":")[:2] for mount in compose["services"][name]["volumes"])
        assert targets["./settings"] == str(Path(config).parent), name
    file = tmp_path / "settings" / "wearalike.toml"
    file.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    for looks in ("worn", "off"):
        edited = file.with_suffix(".new")
        edited.write_text(f'data_dir = "../data"\nlooks = "{looks}"\n', encoding="utf-8")
        os.replace(edited, file)
        found = settings.read_settings(None, {})
        assert (found.looks, found.data_dir) == (looks, tmp_path / "data")
    # A file in the folder itself stands above it, as before.
    (tmp_path / "wearalike.toml").write_text('looks = "auto"\n', encoding="utf-8")
    assert settings.read_settings(None, {}).looks == "auto"


def test_its_dags_parse_in_airflow(folder):
    program = (
        "import sys; from airflow.dag_processing.dagbag import DagBag; bag = DagBag(sys.argv[1]);"
        "print('parsed', sorted(bag.dags), bag.import_errors)"
    )
    env = os.environ | {
        "AIRFLOW_HOME": str(folder.parent / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    done = subprocess.run(
        [sys.executable, "-c", program, folder / "dags"],
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
    )
    names = sorted(p.stem for p in (REPOSITORY / "dags").glob("*.py"))
    assert f"parsed {names} {{}}" in done.stdout, done.stderr[-2000:]


def test_every_image_is_pinned_and_every_variable_and_file_is_there(folder):
    text = (folder / "compose.yaml").read_text(encoding="utf-8")
    compose = yaml.safe_load(text)
    services = compose["services"]
    assert set(services) == {
        "postgres",
        "guard",
        "setup",
        "api-server",
        "scheduler",
        "server",
        "dag-processor",
    }
    images = {service["image"] for service in services.values()}
    assert {f"wearalike-{n}:{__version__}" for n in ("airflow", "server")} < images
    assert len(images) == 3
    dockerfile = (folder / "Dockerfile").read_text(encoding="utf-8")
    images |= set(re.findall(r"^FROM (\S+:\S+)", dockerfile, re.MULTILINE))
    assert len(images) == 4 and all(PINNED.fullmatch(image) for image in images), images
    named = set(re.findall(r"\$\{(\w+):\?", text))
    assert len(named) >= 7 and named == set(secrets(folder / ".env"))
    mounts = {mount.split(":")[0] for service in services.values() for mount in service["volumes"]}
    assert len(mounts) >= 7
    for mount in mounts:
        # What people edit comes in a folder: an editor puts another file in its place.
        assert not (folder / mount).is_file() or mount == "./postgres/create.sh", mount
        assert (
            (folder / mount).exists() if mount.startswith("./") else mount in compose["volumes"]
        ), mount
    lock = (folder / "requirements.lock").read_text(encoding="utf-8")
    assert lock == (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")


def test_the_server_has_an_image_without_airflow_spark_and_java(folder):
    stages = re.split(r"^FROM ", (folder / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    base, server, airflow = stages[1:]
    assert server.startswith("base AS server") and airflow.startswith("base AS airflow")
    assert "openjdk" in airflow and "openjdk" not in base + server
    # OpenCV's libraries weigh 340 MB: only install.sh brings them, with an extra that has OpenCV.
    assert "apt-get" not in base + server
    for stage in (server, airflow):
        assert "install-wearalike" in stage
    (extras,) = re.findall(r'^ARG SERVER_EXTRAS="(.+)"', server, re.MULTILINE)
    assert extras == "server,postgres"
    compose = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]
    targets = {name: s["build"]["target"] for name, s in compose.items() if "build" in s}
    assert targets.pop("server") == "server" and set(targets.values()) == {"airflow"}


# The secrets that each service of the compose file may know.
AIRFLOW_SECRETS = {"AIRFLOW_DATABASE_PASSWORD", "AIRFLOW_JWT_SECRET"}
DATABASE_SECRETS = {
    *("POSTGRES_PASSWORD", "AIRFLOW_DATABASE_PASSWORD", "LOADER_PASSWORD"),
    *("READER_PASSWORD", "SITE_PASSWORD", "GUARD_PASSWORD"),
}
SECRETS_BY_SERVICE = {
    "postgres": DATABASE_SECRETS,
    "guard": {"GUARD_PASSWORD"},
    "setup": {*AIRFLOW_SECRETS, "AIRFLOW_ADMIN_PASSWORD"},
    "api-server": {*AIRFLOW_SECRETS, "AIRFLOW_SECRET_KEY", "READER_PASSWORD"},
    "scheduler": {*AIRFLOW_SECRETS, "AIRFLOW_SECRET_KEY", "LOADER_PASSWORD"},
    "dag-processor": {*AIRFLOW_SECRETS, "READER_PASSWORD"},
    "server": {"READER_PASSWORD"},
}


def test_each_service_knows_its_own_secrets_and_is_confined(folder):
    services = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for name, service in services.items():
        told = yaml.safe_dump(service)
        assert set(re.findall(r"\$\{(\w+):\?", told)) == SECRETS_BY_SERVICE[name], name
        assert ("env_file" in service) == (name == "scheduler"), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["stop_grace_period"] == "60s", name
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name
        assert re.fullmatch(r"(\$\{\w+:-)?\d+[mg]\}?", service["mem_limit"]), name
        if name == "setup":
            continue
        # Podman 4.3 splits the arguments of [CMD, ...] at blanks, for Docker's clients.
        kind, *words = service["healthcheck"]["test"]
        assert kind == "CMD-SHELL" or not any(" " in word for word in words), name
        program = shlex.split(words[0])[0] if kind == "CMD-SHELL" else words[0]
        assert program in ("pg_isready", "psql", "python", "airflow"), name
    writable = {
        name: {mount.split(":")[0] for mount in service["volumes"] if not mount.endswith(":ro")}
        for name, service in services.items()
    }
    assert writable == {
        "postgres": {"postgres"},
        "guard": set(),
        "setup": {"data", "airflow"},
        "scheduler": {"data", "airflow"},
        "dag-processor": {"airflow"},
        "api-server": {"airflow", "networks"},
        "server": {"networks"},
    }


def test_a_server_that_only_reads_the_data_keeps_its_networks(folder):
    """They lie where the code keeps them, in a volume of the servers; its mount point is made."""
    services = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]
    data = "/deployment/data"
    place = f"{data}/cache/{KEPT_FOLDER}"
    for name in ("server", "api-server"):
        volumes = services[name]["volumes"]
        # Below the other one, so after it.
        assert volumes.index(f"data:{data}:ro") < volumes.index(f"networks:{place}"), name
    assert f"mkdir -p {Path(place).relative_to('/deployment')}\n" in services["setup"]["command"][2]
    # A new volume takes its owner from the image's folder; each level is named, to be owned.
    dockerfile = (folder / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (made,) = re.findall(r"install -d -o wearalike (.+)", dockerfile)
    assert {data, str(Path(place).parent), place} < set(made.split())


def test_a_server_starts_without_the_feeds_credentials(tmp_path):
    """The settings file is one for all; only who asks the feeds has their secrets."""
    config = tmp_path / "wearalike.toml"
    config.write_text(
        'data_dir = "data"\n[[shops]]\nid = "lipa"\n'
        'feed = "https://lipa.example/feed.xml?code=${LIPA_CODE}"\n',
        encoding="utf-8",
    )
    with pytest.raises(settings.BadSettings, match="LIPA_CODE"):
        settings.read_settings(config, {})
    found = settings.read_settings(config, {}, needs_feeds=False)
    assert found.shops[0].feed.get_secret_value().endswith("${LIPA_CODE}")


def test_the_images_take_hashed_packages_only(folder):
    script = (folder / "install.sh").read_text(encoding="utf-8")
    dockerfile = (folder / "Dockerfile").read_text(encoding="utf-8")
    assert "--require-hashes -r" in script and "AGPL-3.0" in script
    installs = re.findall(r"^RUN .*\b(?:pip|uv|install-wearalike)\b.*", dockerfile, re.MULTILINE)
    assert len(installs) == 3
    for line in installs:
        assert "--require-hashes" in line or line.startswith("RUN install-wearalike "), line
    installer = (folder / "installer.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    assert all(re.match(r"[\w.-]+==\S+ .*--hash=", line) for line in installer.splitlines())
    ignored = (folder / ".dockerignore").read_text(encoding="utf-8").split()
    copied = re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (folder / name).exists() and f"!{name.rstrip('/')}" in ignored, name


def fake_wheel(
    folder: Path,
    name: str,
    version: str,
    requires: list[str],
    members: dict[str, str] | None = None,
) -> Path:
    """A wheel of one module and other files, as an index or packages/ holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = (members or {}) | {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{member},,\n" for member in files)
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in files.items():
            wheel.writestr(member, text)
    return path


def index_page(wheel: Path) -> None:
    """Write the page of an index that links to a wheel, with its hash."""
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    link = f'<a href="{wheel.name}#sha256={sha256}">{wheel.name}</a>'
    (wheel.parent / "index.html").write_text(f"<!DOCTYPE html><html>{link}</html>")


def test_without_a_card_the_images_take_the_build_for_cpus(folder, tmp_path):
    """By hash, from its own index; nothing of NVIDIA's comes with it, nor a changed file."""
    here = shutil.copytree(folder, tmp_path / "here")
    lock = (here / "requirements.lock").read_text(encoding="utf-8")
    versions = dict(re.findall(r"^(torch|torchvision)==(\S+)", lock, re.MULTILINE))
    fake_wheel(here / "packages", "wearalike", __version__, ["torch>=2", "torchvision"])
    index = tmp_path / "index"
    for name, version in versions.items():
        needs = [f"torch=={versions['torch']}"] if name == "torchvision" else []
        members = ("__init__.py", "test/a.py", "include/a.h", "bin/test_a", "bin/torch_shm_manager")
        members = {f"{name}/{member}": "" for member in members}
        wheel = fake_wheel(index / name, name, f"{version}+cpu", needs, members)
        index_page(wheel)
    (index / "empty").mkdir()
    paths = {"PACKAGES": "packages", "LOCK": "requirements.lock", "TORCH_LOCK": "torch.lock"}
    uv = Path(sys.executable).with_name("uv")
    with serve_folder(index) as address:
        env = os.environ | {k: str(here / v) for k, v in paths.items()}
        env |= {"PATH": f"{uv.parent}:{os.environ['PATH']}", "UV_CACHE_DIR": str(tmp_path / "uv")}
        env |= {"UV_INDEX_URL": f"{address}/empty"}

        def run(*command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command, env=env | more, capture_output=True, text=True, timeout=120
            )

        def installed(**more: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
            target = tmp_path / "venv"
            run(uv, "venv", "--clear", "--python", sys.executable, target)
            done = run(here / "install.sh", "server", UV_TARGET=f"--python {target}", **more)
            found = run(uv, "pip", "list", "--format", "freeze", "--python", target).stdout
            return done, {line.split(" ")[0] for line in found.splitlines()}

        assert (here / "torch.lock").read_text().startswith("# Empty")
        done = run(here / "lock-torch.sh", address)
        assert done.returncode == 0 and f"torch=={versions['torch']}+cpu" in done.stdout, done
        done, found = installed()
        assert done.returncode == 0, done.stderr
        assert {f"{name}=={version}+cpu" for name, version in versions.items()} < found
        assert len(found) == 3
        # Its tests and headers go, what it needs stays.
        (torch,) = (tmp_path / "venv").glob("lib/*/site-packages/torch")
        kept = {path.name for path in torch.rglob("*") if path.is_file()}
        assert kept == {"__init__.py", "torch_shm_manager"}
        changed = index / "torch" / f"torch-{versions['torch']}+cpu-py3-none-any.whl"
        with zipfile.ZipFile(changed, "a") as wheel:
            wheel.writestr("more.py", "")
        done, found = installed(UV_CACHE_DIR=str(tmp_path / "uv-2"))
        assert done.returncode and "Hash mismatch" in done.stderr and not found
        # As a torchvision for cards does beside a PyTorch without them.
        broken = {"torchvision/__init__.py": 'raise RuntimeError("no operator nms")'}
        for name, members in (("torch", {"torch/__init__.py": ""}), ("torchvision", broken)):
            index_page(fake_wheel(index / name, name, f"{versions[name]}+cpu", [], members))
        assert (
            run(here / "lock-torch.sh", address, UV_CACHE_DIR=str(tmp_path / "uv-3")).returncode
            == 0
        )
        done, found = installed(UV_CACHE_DIR=str(tmp_path / "uv-3"))
        assert done.returncode and "must be of one build" in done.stdout and len(found) == 3


def test_make_says_which_licence_it_installs():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    setup = makefile[makefile.index("$(READY):") : makefile.index("lock:")]
    assert "AGPL-3.0" in setup


def test_secrets_are_random_and_for_the_owner_alone(folder, tmp_path):
    create.create_deployment(tmp_path)
    one, other, example = (
        secrets(folder / ".env"),
        secrets(tmp_path / ".env"),
        secrets(folder / ".env.example"),
    )
    assert one.keys() == other.keys() == example.keys() and set(example.values()) == {
        create.SECRET_PLACEHOLDER
    }
    assert len({*one.values(), *other.values()}) == 2 * len(one) and all(
        re.fullmatch(r"[0-9a-f]{32}", v) for v in one.values()
    )
    ignored = (folder / ".gitignore").read_text(encoding="utf-8").splitlines()
    for name in (".env", "feeds.env"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600 and name in ignored


def test_nothing_is_ever_overwritten(tmp_path, caplog):
    (tmp_path / "compose.yaml").write_text("mine", encoding="utf-8")
    (tmp_path / "sql").mkdir()
    (tmp_path / "notes").write_text("others may stay", encoding="utf-8")
    assert app.main(["init", str(tmp_path)]) == 1
    assert "has compose.yaml, sql already" in caplog.text
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["compose.yaml", "notes", "sql"]
    assert (tmp_path / "compose.yaml").read_text(encoding="utf-8") == "mine"
    (tmp_path / "compose.yaml").unlink()
    (tmp_path / "sql").rmdir()
    assert app.main(["init", str(tmp_path)]) == 0
    assert app.main(["init", str(tmp_path)]) == 1


def test_a_folder_that_cannot_be_written_is_named(caplog):
    assert app.main(["init", "/proc/wearalike"]) == 1
    assert "/proc/wearalike" in caplog.text


def test_a_wheel_carries_what_init_writes(tmp_path, folder):
    """Built by setuptools itself, of this checkout's files without the weights,
    then asked to write a deployment.
    """
    source = tmp_path / "source"
    source.mkdir()
    for name in ("README.md", "LICENSE", "requirements.lock"):
        shutil.copy2(REPOSITORY / name, source)
    for name in (".ci", "lib", "dags", "mappings", "sql"):
        shutil.copytree(
            REPOSITORY / name,
            source / name,
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "weights"),
        )
    shutil.copy2(REPOSITORY / "pyproject.toml", source)
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", build, tmp_path],
        cwd=source,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("wearalike-*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); "
        "import wearalike.ops.deployment.create as d;"
    )
    program += "d.create_deployment(pathlib.Path(sys.argv[2]), with_sample=True); print(d.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, tmp_path / "installed", tmp_path / "made"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(tmp_path / "installed") in done.stdout
    # The DAGs of `folder` were parsed there, which leaves bytecode.
    made, wanted = (
        {p.relative_to(base) for p in base.rglob("*") if p.is_file() and p.suffix != ".pyc"}
        for base in (tmp_path / "made", folder)
    )
    # The wheel that wrote the deployment is in it, so that its images need no checkout.
    (own,) = (tmp_path / "made" / "packages").glob("*.whl")
    assert own.name == wheel.name and made - wanted == {Path("packages", own.name)}
    assert wanted < made
    packed, built = (
        {name: archive.read(name) for name in archive.namelist()}
        for archive in map(zipfile.ZipFile, (own, wheel))
    )
    records = [
        sorted(files.pop(name).decode().splitlines())
        for files in (packed, built)
        for name in list(files)
        if name.endswith("/RECORD")
    ]
    assert packed == built and records[0] == records[1]
    content = own.read_bytes()
    own.unlink()
    again = "import sys, pathlib; sys.path.insert(0, sys.argv[1]); "
    again += "from wearalike.ops.deployment import own_wheel as w;"
    again += "print(w.write_own_wheel(pathlib.Path(sys.argv[2])))"
    subprocess.run(
        [sys.executable, "-I", "-c", again, tmp_path / "installed", own.parent], check=True
    )
    assert own.read_bytes() == content


# PostgreSQL


@pytest.fixture(scope="module")
def postgres(folder):
    """The address of a server on which the deployment's own script has run,
    without user and database.
    """
    with start_server() as address:
        host, port = re.search(r"@([\d.]+):(\d+)/", address).groups()
        env = {
            **os.environ,
            **secrets(folder / ".env"),
            "PGHOST": host,
            "PGPORT": port,
            "SQL": str(folder / "sql"),
        }
        subprocess.run(["bash", folder / "postgres" / "create.sh"], env=env, check=True, timeout=60)
        yield f"{host}:{port}"


def load(address: str, run: str) -> None:
    import pyarrow.dataset as ds

    warehouse, parts = open_warehouse(address), night(run)
    warehouse.load(
        run,
        {n: ds.dataset(t) for n, t in parts.items()},
        {n: t.num_rows for n, t in parts.items()},
        "s",
    )
    warehouse.publish(run)


def test_each_role_can_do_its_work_and_nothing_else(postgres, folder):
    import psycopg

    def connect(role: str, database: str = "shop"):
        return psycopg.connect(f"postgresql://{role}@{postgres}/{database}", autocommit=True)

    with connect("postgres") as con:
        roles = con.execute(
            "SELECT rolname, rolpassword IS NOT NULL, rolsuper FROM pg_authid "
            "WHERE rolname !~ '^pg_|postgres'"
        ).fetchall()
        assert sorted(roles) == [
            (name, True, False)
            for name in (
                "airflow",
                "wearalike_guard",
                "wearalike_loader",
                "wearalike_reader",
                "wearalike_site",
            )
        ]
    load(f"postgresql://wearalike_loader@{postgres}/shop", "r1")
    views = (folder / "sql" / "views" / "site.sql").read_text(encoding="utf-8")
    with connect("wearalike_loader") as loader:
        loader.execute(views)
        loader.execute(views)  # as after an upgrade
    # The next run shows itself, without another word to the views.
    load(f"postgresql://wearalike_loader@{postgres}/shop", "r2")
    with connect("wearalike_site") as site:
        found = site.execute(
            "SELECT rank, similar_product_id, run FROM site_similar_products "
            "WHERE product_id = 'moda:00003' ORDER BY rank"
        )
        assert found.fetchall() == [(2, "moda:00005", "r2"), (3, "moda:00000", "r2")], (
            "moda:00004 is out of stock"
        )
        freshness = "SELECT run, age_s, data_age_s, oldest_feed_days FROM site_freshness"
        ((run, age_s, data_age_s, oldest_feed_days),) = site.execute(freshness).fetchall()
        assert run == "r2" and 0 <= age_s <= data_age_s < 300
        # night() measures no feed.
        assert oldest_feed_days is None
    with connect("wearalike_loader") as loader:
        loader.execute("SET search_path TO wearalike")
        loader.execute("UPDATE loads SET loaded_at = loaded_at - interval '50 hours'")
        loader.execute(
            "INSERT INTO quality (run, metric, scope, value, unit)"
            " VALUES ('r2', 'feed_age_days', 'all', 3, 'days')"
        )
    with connect("wearalike_site") as site:
        ((run, age_s, data_age_s, oldest_feed_days),) = site.execute(freshness).fetchall()
        assert (run, oldest_feed_days) == ("r2", 5)
        assert age_s < 300 and 50 * 3600 <= data_age_s < 51 * 3600
        assert site.execute("SELECT count(*), min(run) FROM site_products").fetchall() == [
            (6, "r2")
        ]
    forbidden = {
        "wearalike_site": [
            *(
                f"SELECT * FROM {t}"
                for x in PUBLISHED_TABLES
                for t in (x.name, f"current_{x.name}")
            ),
            "SELECT * FROM publications",
        ],
        "wearalike_reader": [
            "DELETE FROM products",
            "INSERT INTO publications (run, kind) VALUES ('r1', 'publish')",
            "DROP VIEW site_products",
        ],
        "wearalike_loader": [
            "CREATE TABLE public.mine (a int)",
            "CREATE SCHEMA mine",
            "SELECT * FROM pg_authid",
        ],
    }
    for role, statements in forbidden.items():
        for statement in [*statements, "CREATE TEMP TABLE mine (a int)", "CREATE ROLE more"]:
            with (
                connect(role) as con,
                pytest.raises(
                    (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)
                ),
            ):
                con.execute("SET default_transaction_read_only TO off")
                con.execute(statement)
        with (
            pytest.raises(psycopg.OperationalError, match="permission denied for database"),
            connect(role, "airflow"),
        ):
            pass
    with connect("wearalike_reader") as reader:
        assert reader.execute("SELECT count(*) FROM products").fetchall() == [(12,)]


def test_the_site_s_role_takes_no_more_than_it_may(postgres, folder):
    """Some limits PostgreSQL holds itself; the others the guard, whatever the session sets."""
    import psycopg

    address = f"postgresql://wearalike_site@{postgres}/shop"
    with psycopg.connect(address, autocommit=True) as site:
        site.execute("SET default_transaction_read_only TO off")
        for statement in (
            "CREATE TEMP TABLE mine (a int)",
            "CREATE TABLE public.mine (a int)",
            "SELECT lo_create(0)",
            "SELECT lo_from_bytea(0, 'x')",
            "SELECT pg_advisory_lock(1)",
            "SET temp_file_limit TO '10GB'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                site.execute(statement)
        # A session may change these, and no privilege forbids it.
        site.execute("SET statement_timeout TO 0")
        site.execute("SET idle_in_transaction_session_timeout TO 0")
    host, _, port = postgres.partition(":")
    guard = subprocess.Popen(
        f"exec psql -X -q -v run_s=1 -v idle_s=1 -v transaction_s=3 -h {host} -p {port} "
        f"-U wearalike_guard -d shop -f {folder / 'sql' / 'postgres_guard.sql'}",
        shell=True,
        stdout=subprocess.DEVNULL,
    )
    unbounded = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
    try:
        running = psycopg.connect(address, autocommit=True, options=unbounded)
        with pytest.raises(psycopg.errors.AdminShutdown):
            running.execute("SELECT pg_sleep(60)")
        idle = psycopg.connect(address, options=unbounded)
        idle.execute("SELECT 1")
        with psycopg.connect(f"postgresql://postgres@{postgres}/shop", autocommit=True) as admin:
            deadline = time.monotonic() + 30
            while admin.execute(
                "SELECT 1 FROM pg_stat_activity WHERE pid = %s", [idle.info.backend_pid]
            ).fetchall():
                assert time.monotonic() < deadline
        busy = psycopg.connect(address, options=unbounded)
        with pytest.raises(psycopg.errors.AdminShutdown):
            for _ in range(600):  # none of them runs or idles for long
                busy.execute("SELECT pg_sleep(0.1)")
        with psycopg.connect(f"postgresql://wearalike_loader@{postgres}/shop") as loader:
            loader.execute("SELECT pg_advisory_xact_lock(1)")
        assert guard.poll() is None
    finally:
        guard.terminate()
        guard.wait(30)
    with contextlib.ExitStack() as stack, pytest.raises(psycopg.OperationalError, match="too many"):
        for _ in range(41):
            stack.enter_context(psycopg.connect(address))


def test_airflow_can_make_its_tables_there(postgres):
    """The role and the driver of compose.yaml;
    Airflow's whole migration takes half a minute and shows no more.
    """
    import sqlalchemy

    compose = yaml.safe_load(
        (REPOSITORY / "lib/wearalike/ops/deployment/files/compose.yaml").read_text(encoding="utf-8")
    )
    address = compose["x-airflow-environment"]["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    engine = sqlalchemy.create_engine(re.sub(r":\$.*@postgres/", f"@{postgres}/", address))
    with engine.begin() as con:
        con.execute(sqlalchemy.text("CREATE TABLE mine (a int)"))
        assert (
            con.execute(
                sqlalchemy.text("SELECT tableowner FROM pg_tables WHERE tablename = 'mine'")
            ).scalar()
            == "airflow"
        )
    engine.dispose()


def test_the_pyproject_of_the_image_has_the_extra_it_asks_for():
    text = (REPOSITORY / "lib/wearalike/ops/deployment/files/Dockerfile").read_text(
        encoding="utf-8"
    )
    named = re.findall(r'^ARG \w+_EXTRAS="(.+)"', text, re.MULTILINE)
    assert len(named) == 2
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(",".join(named).split(",")) < project["optional-dependencies"].keys()
