"""Join supplemental feeds to a feed by id: their values replace those of the feed.

The texts lie in a file of SQLite, so that memory stays flat.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from types import TracebackType

from wearalike.feeds.collected import CollectedTexts
from wearalike.feeds.fields import Slot

_TABLE_SQL = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE supplement (offer_id TEXT PRIMARY KEY, texts TEXT, is_used INTEGER) WITHOUT ROWID;
"""


class Supplement:
    """The texts of the supplemental feeds of one shop, by offer and slot."""

    def __init__(self, path: Path) -> None:
        """Make an empty one.

        Args:
            path: A file to make.
        """
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(_TABLE_SQL)
        self._database.execute("BEGIN")

    def __enter__(self) -> Supplement:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    def add(self, texts: CollectedTexts) -> bool:
        """Add the texts of a row; they replace those of an earlier row of its id.

        Args:
            texts: The texts of one row.

        Returns:
            False if the row has no id.
        """
        ident = (texts.first(Slot.ID) or "").strip()
        if not ident:
            return False
        slots = {slot: found for slot, found in texts.by_slot().items() if slot is not Slot.ID}
        if stock := slots.get(Slot.AVAILABILITY):
            # The mark of YML's attribute means nothing to other dialects.
            slots[Slot.AVAILABILITY] = [text.removeprefix("@") for text in stock]
        earlier = self._find(ident)
        self._database.execute(
            "INSERT OR REPLACE INTO supplement VALUES (?, ?, 0)",
            (ident, json.dumps({**earlier, **slots})),
        )
        return True

    def apply(self, texts: CollectedTexts) -> None:
        """Replace the texts of an offer by those of its id.

        Args:
            texts: The texts of the offer.
        """
        ident = (texts.first(Slot.ID) or "").strip()
        slots = self._find(ident)
        for name, found in slots.items():
            texts.replace(Slot(name), found)
        if slots:
            self._database.execute("UPDATE supplement SET is_used = 1 WHERE offer_id = ?", (ident,))

    def count_unused(self) -> int:
        """Return the number of ids that no offer has had."""
        sql = "SELECT count(*) FROM supplement WHERE NOT is_used"
        return int(self._database.execute(sql).fetchone()[0])

    def _find(self, ident: str) -> dict[str, list[str]]:
        sql = "SELECT texts FROM supplement WHERE offer_id = ?"
        row = self._database.execute(sql, (ident,)).fetchone()
        return dict(json.loads(row[0])) if row else {}
