"""Sketch hats, caps, belts and sunglasses. The dice choose the cut."""

from __future__ import annotations

from wearalike.sample.materials import (
    DARK_COLOUR,
    GOLD_COLOUR,
    RUBBER_COLOUR,
    STEEL_COLOUR,
)
from wearalike.sample.sketch import (
    SeededChoices,
    Sketch,
    curve,
    ellipse,
    mirror_outline,
    rounded_box,
)


def hat(dice: SeededChoices) -> Sketch:
    """Return a hat with a brim."""
    s, wide, tall = Sketch(), dice.between("brim", 112, 140), dice.between("crown", 72, 90)
    s.area(ellipse(0, 34, wide, 30), 0.8)
    s.area(
        mirror_outline(
            (0, -tall + 12), (14, -tall + 6, 30, -tall), (62, -tall + 2, 68, 22), (0, 40)
        )
    )
    s.area(
        mirror_outline((0, 12), (40, 10, 66, -2), (69, 24), (40, 40, 0, 42)),
        colour=dice.choose("band", (DARK_COLOUR, (150, 62, 52), (70, 84, 110))),
    )
    s.area(
        curve(
            (-wide, 34),
            (-wide + 4, 62, 0, 64),
            (wide - 4, 62, wide, 34),
            (70, 22),
            (40, 42, 0, 44),
            (-40, 42, -70, 22),
        ),
        0.95,
    )
    s.fold((0, -tall + 16), (-6, -30, 0, 0), width=9)
    s.fold((-44, -tall + 24), (-54, -10, -54, 6), tone=1.14, width=10)
    return s


def cap(dice: SeededChoices) -> Sketch:
    """Return a cap."""
    s, tall = Sketch(), dice.between("crown", 74, 88)
    s.area(curve((-82, 34), (-92, -tall, 0, -tall), (70, -tall, 80, 20), (40, 8, -82, 34)))
    s.line((-10, -tall), (-44, -30, -38, 22), width=1.8)
    s.line((-4, -tall), (46, -50, 46, 12), width=1.8)
    s.area(
        curve((-40, 24), (20, 6, 80, 18), (140, 26, 158, 52), (120, 40, 60, 44), (0, 50, -40, 24)),
        0.85,
    )
    s.line((-30, 26), (60, 20, 146, 46), tone=0.7)
    s.disc(-6, -tall, 6, 0.8)
    if dice.happens("badge", 0.6):
        s.disc(10, -24, 15, colour=RUBBER_COLOUR)
    s.fold((-62, 10), (-66, -40, -36, -60), tone=1.15, width=10)
    return s


def belt(dice: SeededChoices) -> Sketch:
    """Return a rolled belt from the front: two turns of the strap and the buckle."""
    s = Sketch()
    metal = dice.choose("metal", (GOLD_COLOUR, STEEL_COLOUR, DARK_COLOUR))
    wide = dice.between("wide", 20, 30)
    s.area(
        mirror_outline(
            (0, -58), (110, -58, 110, -20), (110, -20 + wide), (110, -40 + wide, 0, -40 + wide)
        ),
        0.6,
    )
    s.area(
        curve(
            (-110, -20),
            (-110, 30, 40, 30),
            (150, 28),
            (160, 30 + wide / 2),
            (150, 30 + wide),
            (40, 30 + wide),
            (-110, 34 + wide, -110, -20 + wide),
        )
    )
    s.line((-104, -2), (-98, 36, 40, 35), (148, 33), tone=0.75)
    s.line((-106, -10 + wide), (-90, 26 + wide, 40, 25 + wide), (148, 25 + wide), tone=0.75)
    for x in range(84, 145, 15):
        s.disc(x, 30 + wide / 2, 2.4, colour=(24, 20, 18))
    frame = rounded_box(14, 20, 58, 40 + wide, 8 if dice.happens("round", 0.5) else 2)
    s.line(*frame, frame[0], width=6, colour=metal, solid=True)
    s.line((17, 30 + wide / 2), (62, 30 + wide / 2), width=5, colour=metal)
    s.area(rounded_box(68, 26, 78, 34 + wide, 2), 0.7)
    s.fold((-90, 14), (-60, 36, 0, 30 + wide / 2), tone=1.2, width=6)
    return s


def sunglasses(dice: SeededChoices) -> Sketch:
    """Return sunglasses: round, square or cat-eye."""
    s, cut = Sketch(), dice.choose("cut", ("round", "square", "cat"))
    lens = dice.choose("lens", ((62, 62, 70), (92, 70, 54), (58, 84, 92)))
    outline = {
        "round": ellipse(58, 0, 46, 44),
        "square": rounded_box(12, -34, 106, 36, 14),
        "cat": curve(
            (14, -22), (40, -36, 118, -46), (118, 0, 92, 28), (60, 46, 30, 30), (10, 16, 14, -22)
        ),
    }[cut]
    s.line((92, -22), (126, -30), (118, -54, 84, -60), width=6, tone=0.8, solid=True, both=True)
    s.area(outline, both=True)
    inner = [(58 + (x - 58) * 0.84, (y + 1) * 0.82) for x, y in outline]
    s.area(inner, colour=lens, both=True)
    s.line((-18, -8), (0, -24, 18, -8), width=8, solid=True)
    s.fold((36, -16), (50, -24, 66, -22), tone=1.5, width=6)
    s.fold((-78, -16), (-66, -24, -50, -22), tone=1.5, width=6)
    return s
