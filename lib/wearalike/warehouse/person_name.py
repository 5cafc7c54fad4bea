"""Names of the people who record rows: judges and labellers."""

from __future__ import annotations

MAX_NAME_LETTERS = 40


def normalize_person_name(text: str, role: str) -> str:
    """Return a person's name without unprintable characters and repeated spaces.

    Args:
        text: The name as entered.
        role: Name of the role for the message, e.g. "judge".

    Returns:
        1 to MAX_NAME_LETTERS letters.

    Raises:
        ValueError: The name is empty or too long.
    """
    name = " ".join("".join(c for c in text if c.isprintable()).split())
    if not 1 <= len(name) <= MAX_NAME_LETTERS:
        raise ValueError(
            f"{role}: wanted a name of 1 to {MAX_NAME_LETTERS} letters, got {len(name)}"
        )
    return name
