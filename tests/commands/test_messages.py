"""Each error is one sentence in one line, and -q, -v and a terminal change what is logged."""

import os
import pty
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.postgres_server import start_server

from wearalike.commands import app
from wearalike.pipeline import command_frame
from wearalike.pipeline.__main__ import main as run_stage

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "wearalike.toml"
    path.write_text(
        f'data_dir = "root"\nmappings = "{REPOSITORY / "mappings"}"\n'
        '[[shops]]\nid = "lipa"\nfeed = "http://127.0.0.1:1/feed.xml"\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def only_line(caplog) -> str:
    """The one error, which has no second line, no class name and no number of the system."""
    (error,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert "\n" not in error and not re.search(r"Errno|\w+Error\b|Exception", error)
    return error


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
@pytest.mark.parametrize("command", [["serve"], ["demo", "--serve"]], ids=" ".join)
def test_a_port_that_cannot_be_is_bad_usage(command, port, capsys):
    with pytest.raises(SystemExit) as ended:
        app.main([*command, "--port", port])
    assert ended.value.code == 2 and "--port" in capsys.readouterr().err


def test_a_port_in_use(config, taken_port, caplog):
    assert app.main(["serve", "--config", str(config), "--port", str(taken_port)]) == 1
    said = f"port {taken_port} of 127.0.0.1: address already in use; name another by --port"
    assert said in only_line(caplog)


@pytest.mark.parametrize(
    ("host", "said"),
    [("203.0.113.9", "not an address of this machine"), ("nosuch.invalid", "no such name")],
)
def test_a_host_that_is_not_this_machine(config, host, said, caplog):
    assert app.main(["serve", "--config", str(config), "--host", host, "--port", "0"]) == 1
    assert said in only_line(caplog)


def test_a_port_of_the_sample_shops_in_use(taken_port):
    command = [sys.executable, "-m", "wearalike.sample", "--port", str(taken_port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"port {taken_port}: address already in use" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('spark_master = "nonsense"', "wanted local[*], local[N], spark://host:port"),
        ('allowed_networks = ["10.0.0.0/33"]', "wanted networks such as 10.1.2.0/24, got"),
        ('allowed_networks = ["10.0.0.1/24"]', "did you mean 10.0.0.0/24"),
        ('default_currency = "euro"', "three capital letters of ISO 4217"),
    ],
)
def test_settings_that_cannot_be(config, line, said, caplog):
    text = config.read_text(encoding="utf-8")
    at_top = line.startswith("spark")
    text = f"{line}\n{text}" if at_top else f"{text}{line}\n"
    config.write_text(text, encoding="utf-8")
    assert app.main(["rollback", "--config", str(config)]) == 1
    assert said in only_line(caplog) and str(config) in caplog.text


def test_a_folder_and_a_file_where_the_other_is_wanted(config, caplog):
    assert app.main(["rollback", "--config", str(config.parent)]) == 1
    assert "no such settings file; wanted the file in it" in only_line(caplog)
    caplog.clear()
    assert run_stage(["ingest_feeds", "--data-dir", str(config)]) == 1
    assert "a file; --data-dir names the folder of all tables" in only_line(caplog)


def test_only_what_asks_shops_needs_their_secrets(config, caplog):
    with config.open("a", encoding="utf-8") as file:
        file.write('\n[[shops]]\nid = "b"\nfeed = "https://b.example/${NO_SUCH_TOKEN}"\n')
    train = f"train view-classifier --init-from nosuch --out {config.parent / 'out'}"
    for words in ("status", "rollback", "export --out x.jsonl", "query photo.jpg", train):
        app.main([*words.split(), "--config", str(config)])
    assert "NO_SUCH_TOKEN" not in caplog.text
    assert run_stage(["ingest_feeds", "--config", str(config)]) == 1
    assert "the environment has no NO_SUCH_TOKEN" in caplog.text


def test_a_rollback_needs_no_object_store(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    config = tmp_path / "wearalike.toml"
    config.write_text(
        f'data_dir = "s3://bucket/x"\nwarehouse = "duckdb:{tmp_path}/warehouse"\n'
        '[storage]\nendpoint = "http://127.0.0.1:9"\nretry_s = 0.1\n',
        encoding="utf-8",
    )
    assert app.main(["rollback", "--config", str(config)]) == 1
    assert "does not answer" not in caplog.text


@pytest.mark.parametrize("option", [["--run", "a b"], ["--day", "2026-13-01"]])
def test_a_run_that_cannot_be_is_bad_usage(option, config, capsys):
    with pytest.raises(SystemExit) as ended:
        app.main(["run", *option, "--config", str(config)])
    assert ended.value.code == 2 and "wanted" in capsys.readouterr().err


def test_java_that_does_not_start_is_one_sentence(config, tmp_path, monkeypatch, caplog):
    program = "from wearalike.pipeline.__main__ import main; import sys; sys.exit(main())"
    env = {**os.environ, "JAVA_HOME": str(tmp_path / "none")}
    with config.open("a", encoding="utf-8") as file:
        file.write("\n[spark]\nmin_offers = 0\n")
    command = [sys.executable, "-c", program, "ingest_feeds", "--config", str(config)]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "starting Spark on local[*]" in done.stderr
    assert "Spark does not start on local[*]: Java gateway process exited" in done.stderr


def test_a_database_that_does_not_exist_is_not_asked_again(config, caplog):
    with start_server() as server:
        address = f"{server.rpartition('/')[0]}/nosuch"
        config.write_text(
            f'warehouse = "{address}"\n' + config.read_text(encoding="utf-8"), encoding="utf-8"
        )
        assert app.main(["rollback", "--config", str(config)]) == 1
    assert 'database "nosuch" does not exist' in only_line(caplog)
    assert "another follows" not in caplog.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            FileNotFoundError(2, "No such file or directory", "/x/y"),
            "/x/y: no such file or directory",
        ),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (ValueError("two\n  lines"), "two lines"),
    ],
)
def test_system_errors_in_one_sentence(error, said):
    assert command_frame.describe_error(error) == said


@pytest.mark.parametrize(("option", "lines"), [("-q", 0), ("-v", 1), (None, 1)])
def test_quiet_and_verbose(option, lines, config):
    command = [sys.executable, "-m", "wearalike", "check-mapping", "--config", str(config)]
    command += [option] if option else []
    env = {name: value for name, value in os.environ.items() if not name.startswith("WEARALIKE")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout == "no mistakes in lipa\n"
    assert len(done.stderr.splitlines()) == lines, done.stderr


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_errors_are_red_on_a_terminal_alone(no_colour, tmp_path):
    ours, theirs = pty.openpty()
    env = {**os.environ, "NO_COLOR": no_colour, "TERM": "xterm"}
    command = [sys.executable, "-m", "wearalike", "rollback", "--config", str(tmp_path / "no.toml")]
    subprocess.run(command, env=env, stderr=theirs, timeout=60, check=False)
    os.close(theirs)
    said = os.read(ours, 4096).decode()
    os.close(ours)
    assert "no such settings file" in said and ("\x1b[31m" in said) == (not no_colour)
