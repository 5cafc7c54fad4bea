"""Sketch bags. The dice choose the cut."""

from __future__ import annotations

from wearalike.sample.materials import (
    DARK_COLOUR,
    GOLD_COLOUR,
    STEEL_COLOUR,
)
from wearalike.sample.sketch import (
    SeededChoices,
    Sketch,
    mirror_outline,
    rounded_box,
)


def backpack(dice: SeededChoices) -> Sketch:
    """Return a backpack."""
    s, round_by = Sketch(), dice.between("round", 34, 62)
    leather = dice.happens("leather", 0.4)
    s.line((-22, -112), (-24, -142, 0, -142), (24, -142, 22, -112), width=9, tone=0.75, solid=True)
    s.line((70, -70), (104, -20, 84, 84), width=11, tone=0.65, solid=True, both=True)
    s.area(
        mirror_outline(
            (0, -118),
            (80 - round_by, -118),
            (80, -116, 82, -118 + round_by + 14),
            (90, 60),
            (90, 104, 56, 106),
            (0, 108),
        )
    )
    if leather:
        s.area(
            mirror_outline((0, -118), (60, -116), (84, -100, 84, -50), (80, -6, 40, -6), (0, -4)),
            0.9,
        )
        s.line((30, -20), (30, 26), width=9, colour=DARK_COLOUR, both=True)
        s.area(rounded_box(22, 4, 38, 20, 2), colour=GOLD_COLOUR, both=True)
    else:
        s.line((-78, -52), (-74, -100, 0, -100), (74, -100, 78, -52), width=3, colour=DARK_COLOUR)
        s.area(rounded_box(-24, -84, 24, -60, 4), 0.8)
    s.area(
        mirror_outline((0, 8), (54, 8), (66, 10, 66, 24), (66, 78), (64, 92, 48, 92), (0, 92)), 0.93
    )
    s.line((-58, 22), (0, 18, 58, 22), width=3, colour=STEEL_COLOUR)
    s.area(rounded_box(84, 20, 98, 82, 6), 0.8, both=True)
    s.fold((-58, -80), (-70, -20, -64, 70), tone=1.16, width=10)
    return s


def tote(dice: SeededChoices) -> Sketch:
    """Return a tote."""
    s, drop, wide = Sketch(), dice.between("drop", 70, 120), dice.between("wide", 78, 98)
    s.line((34, -58), (38, -58 - drop, 0, -60 - drop), width=8, tone=0.6, solid=True, both=True)
    s.area(
        mirror_outline(
            (0, -60), (wide, -62), (wide * 0.86, 96), (wide * 0.8, 102, wide * 0.7, 102), (0, 102)
        )
    )
    s.line((34, -52), (44, -74 - drop, 0, -76 - drop), width=9, tone=0.85, solid=True, both=True)
    s.area(rounded_box(27, -60, 45, -26, 3), 0.8, both=True)
    s.line((-wide + 2, -48), (0, -46, wide - 2, -48), tone=0.75)
    if dice.happens("label", 0.5):
        s.area(rounded_box(-18, 0, 18, 26, 2), colour=(226, 206, 172))
        s.line((-12, 13), (12, 13), colour=DARK_COLOUR)
    s.fold((-50, -30), (-36, 30, -48, 90), width=7)
    s.fold((30, -20), (40, 40, 34, 94), width=7)
    return s


def handbag(dice: SeededChoices) -> Sketch:
    """Return a handbag: flap, frame or crescent."""
    s, cut = Sketch(), dice.choose("cut", ("flap", "frame", "crescent"))
    metal = dice.choose("metal", (GOLD_COLOUR, STEEL_COLOUR))
    if cut == "crescent":
        s.line(
            (-92, -30), (-80, -150, 0, -150), (80, -150, 92, -30), width=8, tone=0.85, solid=True
        )
        s.area(mirror_outline((0, -16), (60, -22, 100, -46), (120, 40, 50, 66), (20, 74, 0, 74)))
        s.line((-94, -38), (-50, -16, 0, -10), (50, -16, 94, -38), width=4, colour=metal)
    else:
        s.line(
            (-48, -44), (-46, -118, 0, -118), (46, -118, 48, -44), width=10, tone=0.8, solid=True
        )
        wide, low = (96, 72) if cut == "flap" else (80, 84)
        s.area(
            mirror_outline(
                (0, -50),
                (wide - 18, -52),
                (wide, -50, wide, -34),
                (wide + 12, 50),
                (wide + 12, low, wide - 10, low),
                (0, low),
            )
        )
        s.area(rounded_box(42, -54, 56, -36, 3), colour=metal, both=True)
    if cut == "flap":
        s.area(
            mirror_outline(
                (0, -52), (78, -54), (98, -52, 98, -34), (96, 6, 60, 14), (20, 22, 0, 24)
            ),
            0.93,
        )
        s.area(rounded_box(-13, 10, 13, 32, 4), colour=metal)
    elif cut == "frame":
        s.area(mirror_outline((0, -54), (80, -56), (84, -38), (0, -34)), 0.75)
        s.disc(0, -44, 9, colour=metal)
        s.line((0, -34), (0, 82), tone=0.8)
    s.line((-88, 60), (0, 66, 88, 60), tone=0.78, width=1.6)
    s.fold((-70, -10), (-78, 30, -70, 54), tone=1.22, width=9)
    return s
