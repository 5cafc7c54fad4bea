"""Sketches of clothes: tops, dresses, skirts, trousers, coats and jackets. Cut follows from the dice."""

from __future__ import annotations

import math

from wearalike.sample.sketch import Point, SeededChoices, Sketch, curve, mirror_outline, rounded_box

STITCH_COLOUR = (206, 150, 84)
METAL_COLOUR = (188, 184, 174)
_SLEEVE_CUTS = {
    "none": (0.0, 0.0, 0.0),
    "short": (62.0, 42.0, 40.0),
    "elbow": (104.0, 30.0, 38.0),
    "long": (196.0, 15.0, 29.0),
}


def tshirt(dice: SeededChoices) -> Sketch:
    s, neck, wide = (
        Sketch(),
        dice.choose("neck", ("crew", "v", "scoop")),
        dice.between("wide", 58, 70),
    )
    hem = dice.between("hem", 92, 122)
    _draw_sleeves(s, "short", dice.between("sleeve", 0.85, 1.2))
    _draw_body(s, wide, hem, waist=dice.between("waist", 0.86, 1.0))
    _draw_neckline(s, neck)
    s.line((-wide + 1, hem - 5), (0, hem + 1, wide - 1, hem - 5), tone=0.78)
    if dice.happens("pocket", 0.35):
        s.area(rounded_box(14, -50, 42, -16, 3), 0.95)
    s.fold((44, -30), (36, 20, 48, 80), both=True)
    return s


def shirt(dice: SeededChoices) -> Sketch:
    s, wide, hem = Sketch(), dice.between("wide", 60, 68), dice.between("hem", 112, 130)
    _draw_sleeves(s, dice.choose("sleeve", ("long", "long", "long", "short")), 1.0, cuff=True)
    _draw_body(s, wide, hem, waist=0.95, tail=14)
    _draw_collar(s, deep=dice.between("collar", 22, 30))
    s.line((-6, -78), (-6, hem + 12))
    s.line((6, -78), (6, hem + 12))
    for y in range(-66, int(hem), 27):
        s.disc(0, y, 2.6, colour=(238, 234, 224))
    s.area(rounded_box(18, -48, 46, -14, 2), 0.95)
    s.line((18, -40), (46, -40))
    s.fold((46, -20), (38, 30, 50, 100), both=True)
    return s


def blouse(dice: SeededChoices) -> Sketch:
    s, wide, hem = Sketch(), dice.between("wide", 54, 62), dice.between("hem", 72, 96)
    sleeve = dice.choose("sleeve", ("elbow", "long", "long"))
    _draw_sleeves(s, sleeve, 1.0, flare=dice.between("flare", 1.2, 1.7), cuff=sleeve == "long")
    _draw_body(s, wide, hem, waist=0.78, flare=1.12)
    _draw_neckline(s, "v")
    if dice.happens("bow", 0.5):
        s.area(curve((0, -58), (26, -82, 34, -62), (30, -46, 0, -58)), 0.92, both=True)
        s.area(curve((0, -58), (6, -36, 16, -8), (4, -12), (-2, -40, 0, -58)), 0.88, both=True)
        s.disc(0, -58, 6, 0.8)
    for x in (14, 30, 44):
        s.fold((x * 0.7, 5), (x * 0.8, 40, x, hem), width=4, both=True)
    s.line((-wide * 0.77, 8), (0, 14, wide * 0.77, 8))
    return s


def sweater(dice: SeededChoices) -> Sketch:
    s, neck = Sketch(), dice.choose("neck", ("crew", "turtle", "v"))
    wide, hem = dice.between("wide", 64, 76), dice.between("hem", 88, 112)
    _draw_sleeves(s, "long", 1.0, flare=1.2, rib=True)
    _draw_body(s, wide, hem, waist=0.96)
    _draw_neckline(s, neck, rib=8)
    _draw_rib(s, wide * 0.97, hem - 16, hem + 2)
    if dice.happens("cable", 0.4):
        for x in (-26, 0, 26):
            for y in range(-60, int(hem) - 20, 14):
                s.line((x - 5, y), (x + 8, y + 7, x - 5, y + 14), width=2, tone=0.75)
                s.line((x + 5, y), (x - 8, y + 7, x + 5, y + 14), width=2, tone=0.75)
    s.fold((50, -30), (42, 20, 54, 70), both=True)
    return s


def dress_mini(dice: SeededChoices) -> Sketch:
    s, hem = Sketch(), dice.between("hem", 112, 132)
    _draw_sleeves(s, dice.choose("sleeve", ("none", "short", "elbow")), 0.95)
    _draw_body(s, dice.between("wide", 50, 56), 0, waist=0.84)
    _draw_skirt(s, 0, hem, 45, dice.between("flare", 64, 86), folds=4)
    _draw_neckline(s, dice.choose("neck", ("crew", "scoop", "v")))
    return s


def dress_midi(dice: SeededChoices) -> Sketch:
    s, hem = Sketch(), dice.between("hem", 178, 200)
    _draw_sleeves(s, dice.choose("sleeve", ("none", "short", "long")), 0.95)
    _draw_body(s, 52, 0, waist=0.78)
    _draw_skirt(s, 0, hem, 41, dice.between("flare", 70, 112), folds=5)
    _draw_neckline(s, dice.choose("neck", ("v", "scoop", "crew")))
    s.area(curve((-42, -6), (0, 0, 42, -6), (42, 7), (0, 13, -42, 7)), 0.72)
    if dice.happens("bow", 0.4):
        s.line((12, 4), (30, 30, 22, 70), width=5, tone=0.72)
        s.line((12, 4), (14, 34, 6, 60), width=5, tone=0.66)
    return s


def dress_maxi(dice: SeededChoices) -> Sketch:
    s, hem, flare = Sketch(), dice.between("hem", 262, 290), dice.between("flare", 84, 118)
    s.line((24, -64), (28, -92, 22, -118), width=5, tone=0.95, solid=True, both=True)
    s.area(mirror_outline((0, -52), (14, -66, 30, -68), (44, -56), (44, -20, 37, 0), (0, 4)))
    _draw_skirt(s, 0, hem, 38, flare, folds=5)
    for share in (0.4, 0.72) if dice.happens("tiers", 0.6) else ():
        y, x = hem * share, 38 + (flare - 38) * share
        s.line((-x, y - 6), (0, y + 8, x, y - 6), width=2.4)
        s.fold((-x, y + 2), (0, y + 15, x, y + 2), width=6)
    s.line((-38, 0), (0, 5, 38, 0), width=3, tone=0.7)
    s.line((0, -52), (2, -20, 0, 2))
    return s


def skirt(dice: SeededChoices) -> Sketch:
    s, cut = Sketch(), dice.choose("cut", ("a-line", "pleated", "pencil"))
    hem = {"a-line": 100, "pleated": 170, "pencil": 168}[cut] * dice.between("hem", 0.92, 1.08)
    wide = {"a-line": 96, "pleated": 108, "pencil": 44}[cut]
    _draw_skirt(
        s, 0, hem, 46, wide, folds=3 if cut == "a-line" else 0, hips=18 if cut == "pencil" else 0
    )
    if cut == "pleated":
        for i in range(-5, 6):
            s.line((i * 8, 4), (i * wide / 5.6, hem + 5 - abs(i)), width=1.6)
            s.fold((i * 8 + 3, 8), (i * wide / 5.6 + 9, hem), width=6)
    if cut == "pencil":
        s.line((0, hem - 34), (0, hem + 6), width=2)
        s.fold((-30, 40), (0, 48, 30, 40), tone=0.88)
    s.area(mirror_outline((0, -13), (45, -16), (47, 2), (0, 6)), 0.88)
    s.disc(0, -4, 3, 0.6)
    return s


def trousers(dice: SeededChoices) -> Sketch:
    return _trousers_sketch(
        dice, dice.between("long", 236, 256), dice.choose("leg", (30.0, 40.0, 54.0)), crease=True
    )


def jeans(dice: SeededChoices) -> Sketch:
    s = _trousers_sketch(
        dice, dice.between("long", 232, 252), dice.choose("leg", (25.0, 34.0, 46.0)), stitch=True
    )
    s.fold((36, 76), (38, 120, 40, 160), tone=1.14, width=18, both=True)
    for x in (-40, -20, 20, 40):
        s.area(rounded_box(x - 3, -14, x + 3, 8), 0.85)
    return s


def shorts(dice: SeededChoices) -> Sketch:
    s = _trousers_sketch(
        dice,
        dice.between("long", 96, 128),
        dice.between("leg", 58, 70),
        stitch=dice.happens("stitch", 0.5),
    )
    if dice.happens("cord", 0.5):
        s.line((-4, 4), (-12, 24, -8, 44), width=3, colour=(240, 236, 226))
        s.line((4, 4), (14, 22, 9, 40), width=3, colour=(240, 236, 226))
    return s


def coat(dice: SeededChoices) -> Sketch:
    s, hem, flare = Sketch(), dice.between("hem", 190, 230), dice.between("flare", 1.15, 1.4)
    _draw_sleeves(s, "long", 1.02, flare=1.2, cuff=True)
    _draw_body(s, 70, hem, waist=0.9, flare=flare)
    _draw_lapels(s, dice.between("lapel", -10, 24))
    low = 20
    s.line((4, low), (4, hem + 4), width=1.6)
    for y in (low + 14, low + 52, low + 90):
        s.disc(-14 if dice.happens("double", 0.5) else -6, y, 5, 0.5)
        if dice.happens("double", 0.5):
            s.disc(22, y, 5, 0.5)
    s.area(curve((32, 78), (60, 84), (58, 98), (30, 92)), 0.9, both=True)
    if dice.happens("belt", 0.5):
        s.area(curve((-66, 26), (0, 34, 66, 26), (66, 42), (0, 50, -66, 42)), 0.8)
        s.area(rounded_box(-11, 26, 11, 52, 3), 0.5)
    s.fold((46, 110), (52, 160, 56, hem), both=True)
    return s


def jacket(dice: SeededChoices) -> Sketch:
    s, cut = Sketch(), dice.choose("cut", ("bomber", "trucker", "biker"))
    wide, hem = dice.between("wide", 68, 76), dice.between("hem", 72, 92)
    _draw_sleeves(s, "long", 0.98, flare=1.25, rib=cut == "bomber", cuff=cut != "bomber")
    _draw_body(s, wide, hem, waist=0.97)
    if cut == "bomber":
        _draw_neckline(s, "turtle", rib=10)
        _draw_rib(s, wide * 0.96, hem - 18, hem + 3)
        s.line((0, -86), (0, hem + 2), width=4, colour=METAL_COLOUR)
        s.line((30, 16), (44, 48), width=4, tone=0.55, both=True)
    elif cut == "trucker":
        _draw_collar(s, deep=34)
        s.line((0, -74), (0, hem), width=2)
        s.line((-wide + 8, -46), (0, -40, wide - 8, -46), colour=STITCH_COLOUR)
        s.line((26, -44), (14, hem), colour=STITCH_COLOUR, both=True)
        s.area(curve((22, -44), (52, -46), (52, -22), (37, -12), (22, -22)), 0.93, both=True)
        s.area(
            mirror_outline(
                (0, hem - 12), (wide * 0.95, hem - 14), (wide * 0.95, hem + 2), (0, hem + 5)
            ),
            0.88,
        )
        for y in range(-58, int(hem) + 8, 26):
            s.disc(5, y, 3.4, colour=METAL_COLOUR)
    else:
        _draw_lapels(s, 0)
        s.line((10, 0), (26, hem + 2), width=4, colour=METAL_COLOUR)
        s.line((-50, 24), (-24, 40), width=4, colour=METAL_COLOUR)
        s.area(
            mirror_outline(
                (0, hem - 12), (wide * 0.95, hem - 14), (wide * 0.95, hem + 2), (0, hem + 4)
            ),
            0.85,
        )
        s.area(rounded_box(-10, hem - 15, 12, hem + 5, 2), colour=METAL_COLOUR)
    s.fold((48, -20), (42, 20, 52, 60), both=True)
    return s


def _draw_sleeves(
    s: Sketch, cut: str, long: float, flare: float = 1.0, cuff: bool = False, rib: bool = False
) -> None:
    """Both sleeves, behind the body. cut: a key of _SLEEVES; long: times its length; flare: times its width."""
    length, degrees, wide = _SLEEVE_CUTS[cut]
    if not length:
        return
    length, wide, turn = length * long, wide * flare, math.radians(degrees)
    along, across = (math.sin(turn), math.cos(turn)), (-math.cos(turn), math.sin(turn))

    def at(down: float, inwards: float) -> Point:
        return 60 + length * down * along[0] + inwards * across[0], -97 + length * down * along[
            1
        ] + inwards * across[1]

    out, inner = at(1, 0), at(1, wide)
    bulge = at(0.4, -14)
    s.area(
        curve((46, -102), (60, -97), (*bulge, *out), inner, (52, -30), (30, -60)), 0.95, both=True
    )
    if cuff or rib:
        s.area([at(0.9, -2), at(1, 0), at(1, wide), at(0.9, wide + 2)], 0.84, both=True)
    for i in range(1, 6 if rib else 0):
        s.line(at(0.905, wide * i / 6), at(0.995, wide * i / 6), both=True)
    if length > 90:
        s.fold(at(0.3, 10), (*at(0.6, wide * 0.7), *at(0.85, wide * 0.4)), width=6, both=True)
    else:
        s.line(at(0.9, 0), at(0.9, wide), tone=0.78, both=True)


def _draw_body(
    s: Sketch, wide: float, hem: float, waist: float, flare: float = 1.0, tail: float = 3.0
) -> None:
    """Shoulders to hem. wide: half of the chest; waist, flare: times that at waist and hem; tail: how far the middle hangs lower."""
    low = wide * (flare if hem > 10 else waist)
    middle = (hem - 40) * 0.5
    s.area(
        mirror_outline(
            (0, -104),
            (24, -108),
            (62, -97),
            (54, -70, wide, -42),
            (wide * waist, middle, low, hem),
            (low * 0.5, hem + tail, 0, hem + tail),
        )
    )


def _draw_neckline(s: Sketch, cut: str, rib: float = 4.0) -> None:
    if cut == "turtle":
        s.area(mirror_outline((0, -122), (26, -122), (28, -102), (20, -88, 0, -86)), 0.86)
        for x in range(-20, 21, 8):
            s.line((x, -120), (x, -90))
        return
    deep = {"crew": -82, "scoop": -60, "v": -54}[cut]
    front = curve((26, -108), (0, deep)) if cut == "v" else curve((26, -108), (24, deep, 0, deep))
    s.area(mirror_outline((0, -98), (16, -100, 26, -108), *front[1:]), 0.52)
    s.line(*front, width=rib, tone=0.84, both=True)


def _draw_rib(s: Sketch, half: float, top: float, bottom: float) -> None:
    s.area(mirror_outline((0, top), (half, top - 2), (half * 0.98, bottom), (0, bottom + 4)), 0.86)
    for x in range(-int(half) + 6, int(half), 8):
        s.line((x, top), (x, bottom + 2))


def _draw_collar(s: Sketch, deep: float) -> None:
    s.area(mirror_outline((0, -100), (24, -110), (0, -78)), 0.5)
    s.area(curve((25, -112), (0, -78), (20, -78 + deep), (38, -96)), 0.9, both=True)


def _draw_lapels(s: Sketch, low: float) -> None:
    s.area(mirror_outline((0, -100), (24, -110), (0, low)), 0.45)
    s.area(
        curve((24, -112), (42, -98), (50, -60), (40, -54), (46, -48), (2, low), (12, -50)),
        0.88,
        both=True,
    )


def _draw_skirt(
    s: Sketch, top: float, hem: float, waist: float, wide: float, folds: int, hips: float = 0.0
) -> None:
    """waist, wide: half widths at top and hem; hips: how much the side bulges."""
    side = (
        waist + hips,
        top + (hem - top) * 0.3,
        wide + hips * 0.3,
        top + (hem - top) * 0.6,
        wide,
        hem,
    )
    s.area(mirror_outline((0, top), (waist, top - 4), side, (wide * 0.5, hem + 9, 0, hem + 9)))
    for i in range(folds):
        share = (i + 0.5) / folds * 2 - 1
        s.fold(
            (waist * share * 0.8, top + 14),
            (wide * share * 0.5, top + (hem - top) * 0.5, wide * share * 0.94, hem),
            width=6,
        )


def _trousers_sketch(
    dice: SeededChoices, long: float, leg: float, crease: bool = False, stitch: bool = False
) -> Sketch:
    """Waistband to hem; leg: half-open width of a leg at its hem."""
    s, thread = Sketch(), STITCH_COLOUR if stitch else None
    outer = min(58 + leg * 0.42, 76)
    crotch, inner = 74, max(3.0, outer - leg)
    s.area(
        mirror_outline(
            (0, -6),
            (46, -8),
            (64, 20, 66, 50),
            (66, 110, outer, long),
            (inner, long + 4),
            (3, min(crotch + 30, (crotch + long) / 2), 0, crotch),
        )
    )
    s.line((0, 6), (2, 40, 0, crotch), tone=0.6)
    s.line((0, 12), (16, 14), (16, 40, 0, 54), colour=thread)
    s.line((30, 8), (34, 30, 63, 32), colour=thread, both=True)
    s.line((outer - 1, long - 9), (inner + 1, long - 5), colour=thread, both=True)
    if crease:
        s.line((36, 50), ((outer + inner) / 2, long), tone=0.82, both=True)
    s.fold((14, crotch), (34, crotch + 6, 50, crotch - 14), width=5, both=True)
    if long > 200:
        s.fold((inner + 6, long * 0.55), (outer - 14, long * 0.58), width=5, both=True)
    s.area(mirror_outline((0, -18), (46, -21), (47, 3), (0, 7)), 0.9)
    s.disc(0, -6, 3.6, colour=METAL_COLOUR if stitch else None, tone=1 if stitch else 0.6)
    return s
