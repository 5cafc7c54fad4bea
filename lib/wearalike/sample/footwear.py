"""Sketch shoes. The dice choose the cut."""

from __future__ import annotations

from wearalike.sample.materials import (
    DARK_COLOUR,
    GOLD_COLOUR,
    RUBBER_COLOUR,
)
from wearalike.sample.sketch import (
    SeededChoices,
    Sketch,
    curve,
    rounded_box,
)


def sneakers(dice: SeededChoices) -> Sketch:
    """Return sneakers, low or high."""
    s, high = Sketch(), dice.happens("high", 0.35)
    top = -78 if high else -46
    s.area(
        curve(
            (-98, 20),
            (-108, -10, -94, top + 6),
            (-70, top - 8, -40, top + 4),
            (-20, -22, 30, -14),
            (92, -6, 106, 22),
            (106, 32),
            (-98, 32),
        )
    )
    s.area(
        curve(
            (-94, top + 6),
            (-70, top - 8, -40, top + 4),
            (-46, top + 12),
            (-70, top + 4, -90, top + 14),
        ),
        0.5,
    )
    s.area(
        curve((62, 30), (62, 2, 84, -2), (102, 8, 106, 30)),
        colour=RUBBER_COLOUR if dice.happens("cap", 0.5) else None,
        tone=0.9,
    )
    s.area(curve((-100, 30), (-104, -8, -94, top + 30), (-76, top + 32), (-70, 4, -72, 30)), 0.82)
    s.area(rounded_box(-108, 24, 114, 46, 9), colour=RUBBER_COLOUR)
    s.line((-106, 34), (112, 34), colour=(190, 186, 178))
    for i in range(5):
        x = -30 + i * 15
        y = (top + 24 if high else -18) * (1 - i / 5) + -16 * (i / 5)
        s.line((x - 8, y - 3), (x + 9, y + 9), width=4.5, colour=RUBBER_COLOUR)
    mark = dice.choose("mark", ("stripes", "wave", "none"))
    for x in (-30, -16, -2) if mark == "stripes" else ():
        s.line((x, -8), (x - 14, 24), width=6, colour=RUBBER_COLOUR)
    if mark == "wave":
        s.line((-66, 4), (-20, 36, 30, -4), width=7, colour=RUBBER_COLOUR)
    s.fold((30, -4), (60, 0, 70, 16), tone=1.2, width=5)
    return s


def heels(dice: SeededChoices) -> Sketch:
    """Return a shoe with a heel."""
    s, tall = Sketch(), dice.between("tall", 62, 92)
    floor, thin = 60, dice.choose("heel", (5.0, 7.0, 18.0))
    back = floor - tall
    s.area(
        curve(
            (-96, back + 22),
            (-88, back + 50, -92 + thin * 0.1, floor),
            (-92 + thin, floor),
            (-78, back + 60, -58, back + 34),
        ),
        0.55,
    )
    vamp = (
        (-98, back - 26),
        (-112, back + 4, -96, back + 26),
        (-50, back + 34, -10, floor - 14),
        (30, floor, 112, floor - 2),
    )
    instep = (
        (120, floor - 8, 108, floor - 16),
        (84, floor - 40, 60, floor - 40),
        (20, floor - 38, -30, back + 14),
    )
    s.area(curve(*vamp, *instep, (-66, back - 14, -98, back - 26)))
    s.area(
        curve(
            (-98, back - 26),
            (-66, back - 14, -30, back + 14),
            (20, floor - 38, 58, floor - 40),
            (14, floor - 22, -28, back + 26),
            (-60, back + 2, -98, back - 26),
        ),
        0.45,
    )
    s.line(
        (-96, back + 26),
        (-50, back + 34, -10, floor - 14),
        (30, floor, 112, floor - 2),
        width=4,
        colour=DARK_COLOUR,
    )
    strap = dice.choose("strap", ("none", "none", "ankle", "bow"))
    if strap == "ankle":
        s.line(
            (-96, back - 22),
            (-70, back - 62, -34, back - 40),
            (-30, back - 20, -60, back - 8),
            width=6,
            solid=True,
            tone=0.9,
        )
        s.disc(-40, back - 40, 5, colour=GOLD_COLOUR)
    if strap == "bow":
        s.area(
            curve(
                (66, floor - 36), (50, floor - 58, 44, floor - 44), (50, floor - 30, 66, floor - 36)
            ),
            0.8,
        )
        s.area(
            curve(
                (66, floor - 36), (84, floor - 58, 88, floor - 44), (84, floor - 28, 66, floor - 36)
            ),
            0.8,
        )
    s.fold((60, floor - 26), (84, floor - 26, 98, floor - 12), tone=1.35, width=5)
    s.fold((-98, back - 10), (-100, back + 6, -92, back + 16), tone=1.3, width=5)
    return s


def boots(dice: SeededChoices) -> Sketch:
    """Return a boot: chelsea, lace-up or knee-high."""
    s, cut = Sketch(), dice.choose("cut", ("chelsea", "lace", "knee"))
    top = -160 if cut == "knee" else dice.between("top", -88, -70)
    s.area(
        curve(
            (-72, 40),
            (-80, 0, -70, -40),
            (-78, top),
            (0, top - 6),
            (-2, -40),
            (4, -16, 40, -10),
            (92, 0, 96, 30),
            (96, 42),
            (-72, 42),
        )
    )
    s.area(
        curve((-76, 38), (98, 38), (100, 50), (-14, 50), (-18, 70), (-76, 70)), colour=DARK_COLOUR
    )
    s.line((50, 40), (46, 4, 66, -2), tone=0.7, width=1.6)
    if cut == "chelsea":
        s.area(curve((-50, top), (-24, top - 2), (-26, -6), (-38, 6), (-50, -6)), 0.55)
        for x in range(-47, -24, 5):
            s.line((x, top + 4), (x, -8), tone=0.4)
        s.line((-66, top + 4), (-70, top - 22, -62, top + 4), width=4, tone=0.7, solid=True)
    elif cut == "lace":
        s.area(curve((-20, top), (0, top), (-2, -36), (24, -14), (6, -4), (-20, -24)), 0.8)
        for i in range(6):
            y = top + 10 + i * (abs(top) - 24) / 5
            s.line((-24, y), (2, y + 8), width=3, colour=(226, 200, 150))
    else:
        s.line((-40, top + 6), (-36, -40, -44, 30), width=2)
        s.area(curve((-77, top), (0, top - 6), (-1, top + 12), (-77, top + 18)), 0.82)
        s.fold((-20, -40), (-40, -30, -66, -36))
        s.fold((-14, -56), (-40, -48, -64, -56))
    s.fold((40, 2), (70, 4, 84, 24), tone=1.25, width=6)
    s.fold((-58, top + 20), (-58, -40, -56, 10), tone=1.18, width=8)
    return s
