"""Every command of the app has help and completion, and no command module is also a script."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import wearalike
from wearalike.commands.app import app, main

COMMANDS_DIR = Path(wearalike.__file__).parent / "commands"


def command_lines(group: click.Group = app, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command of the app, as the words that call it."""
    context = click.Context(group)
    lines = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        lines.append((*prefix, name))
        if isinstance(command, click.Group):
            lines += command_lines(command, (*prefix, name))
    return lines


LINES = command_lines()


def test_the_commands_are_those_documented():
    assert {" ".join(line) for line in LINES} == {
        "run",
        "status",
        "rollback",
        "prune",
        "load-events",
        "serve",
        "query",
        "export",
        "train",
        "train encoder",
        "train view-classifier",
        "train detector",
        "train leaves",
        "evaluate",
        "promote",
        "check-labels",
        "export-labels",
        "check-mapping",
        "rules",
        "rules preview",
        "suggest-mapping",
        "describe-items",
        "compare-indexes",
        "compare-photo",
        "register-iceberg",
        "doctor",
        "init",
        "demo",
        "demo-photos",
        "contract",
        "reference",
    }


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_help_works(line, capsys):
    assert main([*line, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: wearalike {' '.join(line)}")
    assert max(map(len, text.splitlines())) <= 100


def test_the_version_is_the_package_s(capsys):
    assert main(["--version"]) == 0
    assert wearalike.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["rollback", "x"], ["train", "nosuch"], ["serve", "--port", "x"]]
)
def test_bad_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and "Usage: wearalike" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("wearalike check-", ["check-labels", "check-mapping"]),
        ("wearalike train v", ["view-classifier"]),
        ("wearalike serve --po", ["--port"]),
        ("wearalike promote --kind d", ["detector"]),
    ],
)
def test_shells_complete(words, wanted):
    count = len(words.split()) - 1
    env = os.environ | {
        "_WEARALIKE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(count),
    }
    program = "from wearalike.commands.app import main; main([])"
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60
    )
    assert [line.partition(",")[2] for line in done.stdout.split()] == wanted, done.stderr


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["train", "--help"]])
def test_the_help_of_the_app_loads_click_alone(argv):
    program = (
        "import sys\nbefore = set(sys.modules)\n"
        "from wearalike.commands.app import main\n"
        f"main({argv!r})\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(loaded - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "click wearalike", done.stderr


def test_no_command_module_is_also_a_script():
    for path in COMMANDS_DIR.glob("*.py"):
        assert "__main__" not in path.read_text(encoding="utf-8"), path
