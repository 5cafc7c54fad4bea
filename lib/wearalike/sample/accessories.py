"""Sketches of shoes, bags and accessories. Cut follows from the dice."""

from __future__ import annotations

from wearalike.sample.sketch import (
    SeededChoices,
    Sketch,
    curve,
    ellipse,
    mirror_outline,
    rounded_box,
)

RUBBER_COLOUR = (240, 238, 232)
DARK_COLOUR = (58, 50, 46)
GOLD_COLOUR = (204, 168, 92)
STEEL_COLOUR = (176, 178, 182)


def sneakers(dice: SeededChoices) -> Sketch:
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


def backpack(dice: SeededChoices) -> Sketch:
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


def hat(dice: SeededChoices) -> Sketch:
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
    """Rolled up, seen from the front: two turns of the strap and the buckle."""
    s, metal, wide = (
        Sketch(),
        dice.choose("metal", (GOLD_COLOUR, STEEL_COLOUR, DARK_COLOUR)),
        dice.between("wide", 20, 30),
    )
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
