"""Prose is read once: short sentences, plain openings, in docstrings, comments and pages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MAX_WORDS = 25
OPENINGS = re.compile(r"(What|Of|Whether)\b")
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "lib/**/*.md")
    for page in REPOSITORY.glob(pattern)
    if page.name not in ("reference.md", "LICENSE.md")
)
MODULES = sorted((REPOSITORY / "lib" / "wearalike").rglob("*.py"))


def docstring_blocks(text: str) -> Iterator[str]:
    """Yield paragraphs and list entries of a docstring, without examples and tables."""
    block: list[str] = []
    is_code = False
    for line in [*text.splitlines(), ""]:
        words = line.strip()
        if words.startswith("```"):
            is_code = not is_code
        is_skipped = is_code or words.startswith((">>>", "...", "|", "```"))
        is_drawing = line.startswith("        ") and "  " in words
        if is_skipped or not words or re.fullmatch(r"[A-Z][a-z]+:", words):
            yield " ".join(block)
            block = []
            continue
        if re.match(r"(\w[\w.*, ]*(\(.*?\))?: |[-*] |\d+\. |\$ )", words):
            yield " ".join(block)
            block = []
        if not is_drawing:
            block.append(re.sub(r"^([-*]|\d+\.) ", "", words))


def page_blocks(text: str) -> Iterator[str]:
    """Yield paragraphs and list entries of a Markdown page, without code, tables and headings."""
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        words = line.strip()
        if not words or line.startswith("    ") or words.startswith(("|", "#", "<", "!", ">")):
            yield " ".join(block)
            block = []
            continue
        if re.match(r"([-*] |\d+\. )", words):
            yield " ".join(block)
            block = []
        block.append(re.sub(r"^([-*]|\d+\.) ", "", words))


def faults(blocks: Iterator[str]) -> Iterator[str]:
    """Yield what is wrong with the sentences of some blocks."""
    for block in blocks:
        text = re.sub(r"`[^`]*`", "CODE", block)
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
        text = re.sub(r"\b(e\.g|i\.e|etc|vs|al|Eq|Fig|eq|no)\.", r"\1", text)
        for sentence in re.split(r"(?<=[.!?:;])\s+", text):
            words = re.findall(r"[^\W_][\w'’-]*", sentence)
            if len(words) > MAX_WORDS:
                yield f"{len(words)} words: {sentence}"
            if OPENINGS.match(sentence) and not sentence.endswith("?"):
                yield f"opens badly: {sentence}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_pages_are_read_once(page):
    assert list(faults(page_blocks(page.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "module", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY / "lib" / "wearalike"))
)
def test_docstrings_and_comments_are_read_once(module):
    text = module.read_text(encoding="utf-8")
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = getattr(node, "name", "module")
            blocks = docstring_blocks(ast.get_docstring(node) or "")
            found += [f"{name}: {fault}" for fault in faults(blocks)]
    found += re.findall(r"(?:^|\s)# +(?:What|Of|Whether)\b.*", text)
    assert found == []


def test_the_checker_sees_what_it_should():
    long = "word " * 26 + "."
    assert len(list(faults(page_blocks(f"{long}\n\nOf all things, this opens badly.\n")))) == 2
    assert list(faults(page_blocks("Short.\n\n    Of code, nothing is said.\n"))) == []
    assert len(list(faults(docstring_blocks(f"Return x.\n\nArgs:\n    x: {long}\n")))) == 1
