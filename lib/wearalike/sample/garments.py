"""Sketch clothes: tops, dresses, skirts, trousers, coats and jackets. The dice choose the cut."""

from __future__ import annotations

from wearalike.sample.garment_parts import (
    draw_body,
    draw_collar,
    draw_lapels,
    draw_neckline,
    draw_rib,
    draw_skirt,
    draw_sleeves,
    sketch_trousers,
)
from wearalike.sample.materials import (
    METAL_COLOUR,
    STITCH_COLOUR,
)
from wearalike.sample.sketch import (
    SeededChoices,
    Sketch,
    curve,
    mirror_outline,
    rounded_box,
)


def tshirt(dice: SeededChoices) -> Sketch:
    """Return a T-shirt."""
    s = Sketch()
    neck = dice.choose("neck", ("crew", "v", "scoop"))
    wide = dice.between("wide", 58, 70)
    hem = dice.between("hem", 92, 122)
    draw_sleeves(s, "short", dice.between("sleeve", 0.85, 1.2))
    draw_body(s, wide, hem, waist=dice.between("waist", 0.86, 1.0))
    draw_neckline(s, neck)
    s.line((-wide + 1, hem - 5), (0, hem + 1, wide - 1, hem - 5), tone=0.78)
    if dice.happens("pocket", 0.35):
        s.area(rounded_box(14, -50, 42, -16, 3), 0.95)
    s.fold((44, -30), (36, 20, 48, 80), both=True)
    return s


def shirt(dice: SeededChoices) -> Sketch:
    """Return a shirt with buttons."""
    s, wide, hem = Sketch(), dice.between("wide", 60, 68), dice.between("hem", 112, 130)
    draw_sleeves(s, dice.choose("sleeve", ("long", "long", "long", "short")), 1.0, cuff=True)
    draw_body(s, wide, hem, waist=0.95, tail=14)
    draw_collar(s, deep=dice.between("collar", 22, 30))
    s.line((-6, -78), (-6, hem + 12))
    s.line((6, -78), (6, hem + 12))
    for y in range(-66, int(hem), 27):
        s.disc(0, y, 2.6, colour=(238, 234, 224))
    s.area(rounded_box(18, -48, 46, -14, 2), 0.95)
    s.line((18, -40), (46, -40))
    s.fold((46, -20), (38, 30, 50, 100), both=True)
    return s


def blouse(dice: SeededChoices) -> Sketch:
    """Return a blouse, perhaps with a bow."""
    s, wide, hem = Sketch(), dice.between("wide", 54, 62), dice.between("hem", 72, 96)
    sleeve = dice.choose("sleeve", ("elbow", "long", "long"))
    draw_sleeves(s, sleeve, 1.0, flare=dice.between("flare", 1.2, 1.7), cuff=sleeve == "long")
    draw_body(s, wide, hem, waist=0.78, flare=1.12)
    draw_neckline(s, "v")
    if dice.happens("bow", 0.5):
        s.area(curve((0, -58), (26, -82, 34, -62), (30, -46, 0, -58)), 0.92, both=True)
        s.area(curve((0, -58), (6, -36, 16, -8), (4, -12), (-2, -40, 0, -58)), 0.88, both=True)
        s.disc(0, -58, 6, 0.8)
    for x in (14, 30, 44):
        s.fold((x * 0.7, 5), (x * 0.8, 40, x, hem), width=4, both=True)
    s.line((-wide * 0.77, 8), (0, 14, wide * 0.77, 8))
    return s


def sweater(dice: SeededChoices) -> Sketch:
    """Return a sweater, perhaps with cables."""
    s, neck = Sketch(), dice.choose("neck", ("crew", "turtle", "v"))
    wide, hem = dice.between("wide", 64, 76), dice.between("hem", 88, 112)
    draw_sleeves(s, "long", 1.0, flare=1.2, rib=True)
    draw_body(s, wide, hem, waist=0.96)
    draw_neckline(s, neck, rib=8)
    draw_rib(s, wide * 0.97, hem - 16, hem + 2)
    if dice.happens("cable", 0.4):
        for x in (-26, 0, 26):
            for y in range(-60, int(hem) - 20, 14):
                s.line((x - 5, y), (x + 8, y + 7, x - 5, y + 14), width=2, tone=0.75)
                s.line((x + 5, y), (x - 8, y + 7, x + 5, y + 14), width=2, tone=0.75)
    s.fold((50, -30), (42, 20, 54, 70), both=True)
    return s


def dress_mini(dice: SeededChoices) -> Sketch:
    """Return a mini dress."""
    s, hem = Sketch(), dice.between("hem", 112, 132)
    draw_sleeves(s, dice.choose("sleeve", ("none", "short", "elbow")), 0.95)
    draw_body(s, dice.between("wide", 50, 56), 0, waist=0.84)
    draw_skirt(s, 0, hem, 45, dice.between("flare", 64, 86), folds=4)
    draw_neckline(s, dice.choose("neck", ("crew", "scoop", "v")))
    return s


def dress_midi(dice: SeededChoices) -> Sketch:
    """Return a midi dress with a belt."""
    s, hem = Sketch(), dice.between("hem", 178, 200)
    draw_sleeves(s, dice.choose("sleeve", ("none", "short", "long")), 0.95)
    draw_body(s, 52, 0, waist=0.78)
    draw_skirt(s, 0, hem, 41, dice.between("flare", 70, 112), folds=5)
    draw_neckline(s, dice.choose("neck", ("v", "scoop", "crew")))
    s.area(curve((-42, -6), (0, 0, 42, -6), (42, 7), (0, 13, -42, 7)), 0.72)
    if dice.happens("bow", 0.4):
        s.line((12, 4), (30, 30, 22, 70), width=5, tone=0.72)
        s.line((12, 4), (14, 34, 6, 60), width=5, tone=0.66)
    return s


def dress_maxi(dice: SeededChoices) -> Sketch:
    """Return a maxi dress with straps."""
    s, hem, flare = Sketch(), dice.between("hem", 262, 290), dice.between("flare", 84, 118)
    s.line((24, -64), (28, -92, 22, -118), width=5, tone=0.95, solid=True, both=True)
    s.area(mirror_outline((0, -52), (14, -66, 30, -68), (44, -56), (44, -20, 37, 0), (0, 4)))
    draw_skirt(s, 0, hem, 38, flare, folds=5)
    for share in (0.4, 0.72) if dice.happens("tiers", 0.6) else ():
        y, x = hem * share, 38 + (flare - 38) * share
        s.line((-x, y - 6), (0, y + 8, x, y - 6), width=2.4)
        s.fold((-x, y + 2), (0, y + 15, x, y + 2), width=6)
    s.line((-38, 0), (0, 5, 38, 0), width=3, tone=0.7)
    s.line((0, -52), (2, -20, 0, 2))
    return s


def skirt(dice: SeededChoices) -> Sketch:
    """Return a skirt: A-line, pleated or pencil."""
    s, cut = Sketch(), dice.choose("cut", ("a-line", "pleated", "pencil"))
    hem = {"a-line": 100, "pleated": 170, "pencil": 168}[cut] * dice.between("hem", 0.92, 1.08)
    wide = {"a-line": 96, "pleated": 108, "pencil": 44}[cut]
    draw_skirt(
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
    """Return trousers with a crease."""
    return sketch_trousers(
        dice.between("long", 236, 256), dice.choose("leg", (30.0, 40.0, 54.0)), crease=True
    )


def jeans(dice: SeededChoices) -> Sketch:
    """Return jeans."""
    s = sketch_trousers(
        dice.between("long", 232, 252), dice.choose("leg", (25.0, 34.0, 46.0)), stitch=True
    )
    s.fold((36, 76), (38, 120, 40, 160), tone=1.14, width=18, both=True)
    for x in (-40, -20, 20, 40):
        s.area(rounded_box(x - 3, -14, x + 3, 8), 0.85)
    return s


def shorts(dice: SeededChoices) -> Sketch:
    """Return shorts."""
    s = sketch_trousers(
        dice.between("long", 96, 128),
        dice.between("leg", 58, 70),
        stitch=dice.happens("stitch", 0.5),
    )
    if dice.happens("cord", 0.5):
        s.line((-4, 4), (-12, 24, -8, 44), width=3, colour=(240, 236, 226))
        s.line((4, 4), (14, 22, 9, 40), width=3, colour=(240, 236, 226))
    return s


def coat(dice: SeededChoices) -> Sketch:
    """Return a coat."""
    s, hem, flare = Sketch(), dice.between("hem", 190, 230), dice.between("flare", 1.15, 1.4)
    draw_sleeves(s, "long", 1.02, flare=1.2, cuff=True)
    draw_body(s, 70, hem, waist=0.9, flare=flare)
    draw_lapels(s, dice.between("lapel", -10, 24))
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
    """Return a jacket: bomber, trucker or biker."""
    s, cut = Sketch(), dice.choose("cut", ("bomber", "trucker", "biker"))
    wide, hem = dice.between("wide", 68, 76), dice.between("hem", 72, 92)
    draw_sleeves(s, "long", 0.98, flare=1.25, rib=cut == "bomber", cuff=cut != "bomber")
    draw_body(s, wide, hem, waist=0.97)
    if cut == "bomber":
        draw_neckline(s, "turtle", rib=10)
        draw_rib(s, wide * 0.96, hem - 18, hem + 3)
        s.line((0, -86), (0, hem + 2), width=4, colour=METAL_COLOUR)
        s.line((30, 16), (44, 48), width=4, tone=0.55, both=True)
    elif cut == "trucker":
        draw_collar(s, deep=34)
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
        draw_lapels(s, 0)
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
