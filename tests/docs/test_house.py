"""House rules that a machine can check: unique class names, functions named by verbs or nouns."""

import ast
import re
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = REPOSITORY / "lib" / "wearalike"
# Bare participles and adverbs that named functions once. A verb with its object says what is done.
RIDDLES = frozenset(
    [
        "added",
        "agreed",
        "ahead",
        "alone",
        "answered",
        "apart",
        "arranged",
        "asked",
        "built",
        "checked",
        "chosen",
        "cleaned",
        "compared",
        "copied",
        "counted",
        "decided",
        "described",
        "documented",
        "done",
        "drawn",
        "dropped",
        "encoded",
        "filled",
        "fitted",
        "folded",
        "found",
        "given",
        "gone",
        "grown",
        "halves",
        "held",
        "hidden",
        "joined",
        "judged",
        "kept",
        "known",
        "laid",
        "left",
        "listed",
        "looked",
        "lost",
        "made",
        "mapped",
        "marked",
        "measured",
        "merged",
        "missing",
        "mixed",
        "moved",
        "named",
        "near",
        "opened",
        "ordered",
        "packed",
        "painted",
        "placed",
        "prepared",
        "printed",
        "promising",
        "promoted",
        "published",
        "put",
        "ranked",
        "read_out",
        "received",
        "refused",
        "remembered",
        "rounded",
        "ruled",
        "said",
        "scaled",
        "seen",
        "sent",
        "served",
        "shared",
        "shown",
        "shuffled",
        "sorted_out",
        "stands",
        "stays",
        "stored",
        "struck",
        "taken",
        "taught",
        "told",
        "traced",
        "turned",
        "undecided",
        "unpacked",
        "used",
        "voted",
        "wanted",
        "weighted",
        "whole",
        "worn",
        "written",
    ]
)


def library_trees() -> list[tuple[Path, ast.Module]]:
    paths = sorted(LIBRARY.rglob("*.py"))
    assert len(paths) > 150
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def test_every_class_name_is_defined_once():
    places = defaultdict(list)
    for path, tree in library_trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(LIBRARY)}:{node.lineno}")
    assert len(places) > 200
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_function_is_named_by_a_riddle():
    riddles = [
        f"{path.relative_to(LIBRARY)}:{node.lineno} {node.name}"
        for path, tree in library_trees()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.strip("_") in RIDDLES
    ]
    assert riddles == []


def test_no_package_defines_anything_in_its_init():
    for path in sorted(LIBRARY.rglob("__init__.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            is_list = isinstance(node, ast.Import | ast.ImportFrom | ast.Expr) or (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id in ("__all__", "__version__")
            )
            assert is_list, f"{path.relative_to(LIBRARY)}:{node.lineno}"


def test_jobs_are_thin():
    jobs = sorted((REPOSITORY / "jobs").glob("*.py"))
    assert len(jobs) >= 11
    for path in jobs:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 25 and re.search(r"from wearalike\.pipeline", text), path


# The decoder's sandbox starts its own module as a process.
SCRIPTS = {"imaging/sandbox.py"}


def test_no_module_is_a_script_too():
    scripts = {
        str(path.relative_to(LIBRARY))
        for path, tree in library_trees()
        for node in tree.body
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
    }
    assert {name for name in scripts if not name.endswith("__main__.py")} == SCRIPTS


# Files in which 128 is no number of bits: pixels, colours, channels.
OTHER_128 = {
    "detection/detectors.py",
    "detection/networks/yolo.py",
    "encoding/backbone_trunk.py",
    "encoding/descriptor_layout.py",
    "encoding/imagenet_itq.py",
    "evaluation/descriptors/classic.py",
    "quality_settings.py",
    "sample/garments.py",
    "sample/shading.py",
    "stop_signals.py",
    "training/detector/scenes.py",
    "training/encoder/item_cutout.py",
    "training/encoder/likeness_config.py",
    "training/encoder/photometry.py",
    "training/encoder/view_classifier.py",
    "training/encoder/view_generators.py",
    "training/encoder/worn_views.py",
}


def test_the_number_of_bits_is_defined_once():
    places = []
    for path, tree in library_trees():
        name = str(path.relative_to(LIBRARY))
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or id(node) in docstrings:
                continue
            # A formula in a text, such as SQL, divides by it or counts up to it.
            is_formula = isinstance(node.value, str) and re.search(r"(/ ?\(?|\.\.)128", node.value)
            if is_formula or (node.value == 128 and name not in OTHER_128):
                places.append(name)
    assert places == ["tables.py"], places
