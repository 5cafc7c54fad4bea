"""The categories that a YML feed declares, and the path of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

from lxml.etree import _Element as Element

from wearalike.feeds.dialect import Texts
from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.fields import fold_tag
from wearalike.feeds.normalize import MAX_WORD_CHARS, plain_text

# A deeper category tree counts as a cycle; no shop's tree comes near this.
MAX_CATEGORY_DEPTH = 64
# The attributes that name a category's parent.
_PARENT_ATTRIBUTES = frozenset(("parentid", "parent"))
_BETWEEN_IDS = re.compile(r"[\s,;|]+")


class CategoryTree:
    """The categories of one feed, by id."""

    def __init__(
        self,
        warning_counts: Counter[FeedWarning],
        reread_categories: Callable[[], Iterable[Element]],
    ) -> None:
        """Make an empty tree.

        Args:
            warning_counts: Counts the faults of the tree; this class adds to it.
            reread_categories: Reads the feed anew and yields its category elements. It is called
                only if an offer comes before every category.
        """
        self._warning_counts = warning_counts
        self._reread_categories = reread_categories
        # id -> (name, id of the parent)
        self._categories: dict[str, tuple[str, str]] = {}
        self._path_by_id: dict[str, str] = {}

    def add(self, element: Element) -> None:
        """Remember a category of the tree; a category element elsewhere has another meaning."""
        parent = element.getparent()
        if parent is None or str(parent.tag).rpartition("}")[2] != "categories":
            return
        name = plain_text("".join(element.itertext())[:MAX_WORD_CHARS])
        ident = (element.get("id") or "").strip()
        parents = (value for key, value in element.items() if fold_tag(key) in _PARENT_ATTRIBUTES)
        self._categories[ident] = (name, next(filter(None, map(str.strip, parents)), ""))

    def find_paths(self, texts: Texts) -> tuple[list[str], list[str]]:
        """Return the category ids in an offer's texts, and the path of each; "" for an unknown one.

        Args:
            texts: Texts of one or several ids each.
        """
        if len(texts) == 1:
            ident = (texts[0] or "").strip()
            if path := self._path_by_id.get(ident):
                return [ident], [path]
        stripped = ((text or "").strip() for text in dict.fromkeys(texts))
        ids = [ident for text in stripped if text for ident in self._split_ids(text)]
        return ids, [self._path(ident) for ident in ids]

    def _split_ids(self, text: str) -> list[str]:
        """Return the ids in a text; several are parted by commas, semicolons, bars or blanks."""
        if text in self._categories or not _BETWEEN_IDS.search(text):
            return [text]
        parts = [part for part in _BETWEEN_IDS.split(text) if part]
        self._read_all()
        is_list = text not in self._categories and all(part in self._categories for part in parts)
        return parts if is_list else [text]

    def _path(self, ident: str) -> str:
        """Return the names from the root to a category, joined by " > ".

        An undeclared category has the path "", and is counted.
        """
        self._read_all()
        if ident not in self._path_by_id:
            self._path_by_id[ident] = self._build_path(ident)
        path = self._path_by_id[ident]
        if not path:
            self._warning_counts[FeedWarning.UNKNOWN_CATEGORY] += 1
        return path

    def _read_all(self) -> None:
        """Read the feed anew for its categories, once, if an offer comes before all of them."""
        if not self._categories:
            for element in self._reread_categories():
                self.add(element)
            self._categories[""] = ("", "")

    def _build_path(self, ident: str) -> str:
        """Return the path of a category, as far up as its parents are declared."""
        names: list[str] = []
        seen: set[str] = set()
        while ident and ident not in seen and len(names) < MAX_CATEGORY_DEPTH:
            if ident not in self._categories:
                if names:
                    self._warning_counts[FeedWarning.MISSING_PARENT] += 1
                break
            seen.add(ident)
            name, ident = self._categories[ident]
            names.append(name)
        else:
            if ident:
                self._warning_counts[FeedWarning.CATEGORY_CYCLE] += 1
        return " > ".join(filter(None, reversed(names)))
