"""Ages in the words of a person."""

from __future__ import annotations

# Name and length of each unit, and the least age that it is used for, in seconds.
_UNITS = (("day", 86_400, 172_800), ("hour", 3_600, 3_600), ("minute", 60, 60))


def describe_age(age_s: float) -> str:
    """Return an age in its largest fitting unit.

        >>> describe_age(40), describe_age(7_300), describe_age(400_000)
        ('40 seconds', '2 hours', '5 days')

    Args:
        age_s: Seconds, 0 or more.
    """
    for name, length_s, least_s in (
        ("day", 86_400, 172_800),
        ("hour", 3_600, 3_600),
        ("minute", 60, 60),
    ):
        if age_s >= least_s:
            count = round(age_s / length_s)
            return f"{count} {name}{'s' * (count != 1)}"
    return f"{round(age_s)} second{'s' * (round(age_s) != 1)}"
