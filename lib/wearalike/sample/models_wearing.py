"""Draw people who wear several garments together."""

from __future__ import annotations

from collections.abc import Sequence

from wearalike.sample.cloth import Cloth
from wearalike.sample.painting import PlacedGarment
from wearalike.sample.sketch import Colour, SeededChoices, Sketch, curve, ellipse, mirror_outline

_SKIN_COLOURS: tuple[Colour, ...] = (
    (236, 200, 176),
    (214, 170, 138),
    (168, 118, 88),
    (118, 80, 58),
)
_HAIR_COLOURS: tuple[Colour, ...] = ((52, 40, 34), (94, 64, 42), (150, 110, 66), (40, 38, 42))


def sketch_person(dice: SeededChoices, gender: str) -> Sketch:
    """Return a person seen from the front: head, neck, arms and legs, in the units of the tops.

    Args:
        dice: Chooses skin and hair.
        gender: "female" for long hair.
    """
    s = Sketch()
    skin = dice.choose("skin", _SKIN_COLOURS)
    hair = dice.choose("hair", _HAIR_COLOURS)
    if gender == "female":
        s.area(
            mirror_outline((0, -196), (34, -194, 38, -158), (40, -120, 34, -100), (0, -96)),
            colour=hair,
        )
    s.area(
        mirror_outline((0, -130), (12, -132), (13, -104), (30, -96), (0, -80)),
        colour=skin,
        tone=0.92,
    )
    s.area(ellipse(0, -154, 24, 32), colour=skin)
    s.area(
        curve(
            (-26, -158),
            (-26, -190, 0, -192),
            (26, -190, 26, -158),
            (18, -174, 0, -174),
            (-18, -174, -26, -158),
        ),
        colour=hair,
    )
    s.disc(9, -156, 2.4, colour=(60, 50, 46), both=True)
    s.line((-8, -138), (0, -133, 8, -138), colour=(170, 90, 84), width=2.4)
    s.area(
        curve((54, -92), (70, -84, 76, -30), (84, 30, 88, 66), (74, 72), (64, 20, 54, -30)),
        colour=skin,
        both=True,
    )
    s.area(ellipse(83, 78, 9, 16), colour=skin, both=True)
    s.area(
        curve((14, 70), (50, 70), (50, 180, 46, 340), (32, 342), (28, 200, 14, 90)),
        colour=skin,
        both=True,
    )
    s.area(mirror_outline((0, -90), (52, -90), (46, 0, 52, 90), (0, 100)), colour=skin, tone=0.96)
    return s


def dress_person(
    clothes: Sequence[tuple[str, Sketch, Cloth]], dice: SeededChoices, gender: str
) -> list[PlacedGarment]:
    """Return a dressed person as garments from the innermost to the outermost.

    Args:
        clothes: (section, sketch, cloth) in the order in which they are put on. The section is that
            of ArticleType, or "legs" for trousers.
        dice: Chooses skin and hair.
        gender: As for `sketch_person`.
    """
    pieces = [PlacedGarment(sketch_person(dice, gender), Cloth((0, 0, 0)))]
    for section, sketch, cloth in clothes:
        match section:
            case "legs":
                pieces.append(PlacedGarment(sketch, cloth, y=78))
            case "shoes":
                pieces += [
                    PlacedGarment(sketch, cloth, x=side * 46, y=340, size=0.36, is_flipped=side < 0)
                    for side in (-1, 1)
                ]
            case "bags":
                pieces.append(PlacedGarment(sketch, cloth, x=104, y=122, size=0.42))
            case _:
                pieces.append(PlacedGarment(sketch, cloth))
    return pieces
