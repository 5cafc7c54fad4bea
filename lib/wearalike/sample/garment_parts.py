"""Draw the parts that garments share: sleeves, bodies, necklines, collars, skirts, trousers."""

from __future__ import annotations

import math

from wearalike.sample.materials import (
    METAL_COLOUR,
    STITCH_COLOUR,
)
from wearalike.sample.sketch import (
    Point,
    Sketch,
    curve,
    mirror_outline,
)

# (length, angle in degrees, width) of each cut.
_SLEEVE_CUTS = {
    "none": (0.0, 0.0, 0.0),
    "short": (62.0, 42.0, 40.0),
    "elbow": (104.0, 30.0, 38.0),
    "long": (196.0, 15.0, 29.0),
}


def draw_sleeves(
    s: Sketch, cut: str, long: float, flare: float = 1.0, cuff: bool = False, rib: bool = False
) -> None:
    """Draw both sleeves, behind the body.

    Args:
        s: The sketch.
        cut: A key of _SLEEVE_CUTS.
        long: A factor of its length.
        flare: A factor of its width.
        cuff: Draw cuffs.
        rib: Draw ribbed cuffs.
    """
    length, degrees, wide = _SLEEVE_CUTS[cut]
    if not length:
        return
    length *= long
    wide *= flare
    turn = math.radians(degrees)
    along = (math.sin(turn), math.cos(turn))
    across = (-math.cos(turn), math.sin(turn))

    def at(down: float, inwards: float) -> Point:
        x = 60 + length * down * along[0] + inwards * across[0]
        y = -97 + length * down * along[1] + inwards * across[1]
        return x, y

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


def draw_body(
    s: Sketch, wide: float, hem: float, waist: float, flare: float = 1.0, tail: float = 3.0
) -> None:
    """Draw the body from the shoulders to the hem.

    Args:
        s: The sketch.
        wide: Half the width of the chest.
        hem: The y of the hem.
        waist: A factor of `wide` at the waist.
        flare: A factor of `wide` at the hem.
        tail: How much lower the hem is in the middle.
    """
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


def draw_neckline(s: Sketch, cut: str, rib: float = 4.0) -> None:
    """Draw a neckline.

    Args:
        s: The sketch.
        cut: "turtle", "crew", "scoop" or "v".
        rib: The width of its edge.
    """
    if cut == "turtle":
        s.area(mirror_outline((0, -122), (26, -122), (28, -102), (20, -88, 0, -86)), 0.86)
        for x in range(-20, 21, 8):
            s.line((x, -120), (x, -90))
        return
    deep = {"crew": -82, "scoop": -60, "v": -54}[cut]
    front = curve((26, -108), (0, deep)) if cut == "v" else curve((26, -108), (24, deep, 0, deep))
    s.area(mirror_outline((0, -98), (16, -100, 26, -108), *front[1:]), 0.52)
    s.line(*front, width=rib, tone=0.84, both=True)


def draw_rib(s: Sketch, half: float, top: float, bottom: float) -> None:
    """Draw a ribbed band of half a width between two heights."""
    s.area(mirror_outline((0, top), (half, top - 2), (half * 0.98, bottom), (0, bottom + 4)), 0.86)
    for x in range(-int(half) + 6, int(half), 8):
        s.line((x, top), (x, bottom + 2))


def draw_collar(s: Sketch, deep: float) -> None:
    """Draw a collar whose points are `deep` below the neck."""
    s.area(mirror_outline((0, -100), (24, -110), (0, -78)), 0.5)
    s.area(curve((25, -112), (0, -78), (20, -78 + deep), (38, -96)), 0.9, both=True)


def draw_lapels(s: Sketch, low: float) -> None:
    """Draw lapels that meet at the y `low`."""
    s.area(mirror_outline((0, -100), (24, -110), (0, low)), 0.45)
    s.area(
        curve((24, -112), (42, -98), (50, -60), (40, -54), (46, -48), (2, low), (12, -50)),
        0.88,
        both=True,
    )


def draw_skirt(
    s: Sketch, top: float, hem: float, waist: float, wide: float, folds: int, hips: float = 0.0
) -> None:
    """Draw a skirt.

    Args:
        s: The sketch.
        top: The y of the waist.
        hem: The y of the hem.
        waist: Half the width at the top.
        wide: Half the width at the hem.
        folds: The number of folds.
        hips: How much the sides bulge.
    """
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


def sketch_trousers(long: float, leg: float, crease: bool = False, stitch: bool = False) -> Sketch:
    """Return trousers from the waistband to the hem.

    Args:
        long: The y of the hem.
        leg: The width of a leg at its hem.
        crease: Draw creases.
        stitch: Draw visible seams and a metal button.
    """
    s = Sketch()
    thread = STITCH_COLOUR if stitch else None
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
