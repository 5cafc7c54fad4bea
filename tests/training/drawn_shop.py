"""A drawn shop: things of three shapes and three colours, each in two pictures, as a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red": (200, 30, 30), "green": (30, 150, 60), "blue": (30, 60, 190)}
SHAPES = ("shirt", "skirt", "bag")


def draw_thing(shape: str, colour: str, number: int, side_px: int = 160) -> np.ndarray:
    """A thing on white, uint8 (side, side, 3); its number shifts and stretches it."""
    image = Image.new("RGB", (160, 160), "white")
    draw, shift = ImageDraw.Draw(image), 4 * number
    if shape == "shirt":
        draw.rectangle((40 + shift, 30, 110 + shift, 130), COLOURS[colour])
        draw.rectangle((15 + shift, 30, 135 + shift, 60), COLOURS[colour])
    elif shape == "skirt":
        draw.polygon([(60, 20), (100, 20), (130 + shift, 140), (30 - shift, 140)], COLOURS[colour])
    else:
        draw.ellipse((35 + shift, 50, 120 + shift, 140), COLOURS[colour])
        draw.arc((50 + shift, 15, 105 + shift, 90), 180, 360, COLOURS[colour], 8)
    return np.asarray(image.resize((side_px, side_px)))


def write_folder(folder: Path, copies: int = 3) -> Path:
    """Write labels.csv and the pictures; every ninth is for tests. One group is one shape's copy
    in its three colours."""
    folder.mkdir()
    lines = ["image,split,type,colour,group,view"]
    for shape in SHAPES:
        for colour in COLOURS:
            for number in range(copies):
                name = f"{shape}-{colour}-{number}.png"
                Image.fromarray(draw_thing(shape, colour, number)).save(folder / name)
                split = "test" if number == copies - 1 and colour == "blue" else "train"
                lines.append(f"{name},{split},{shape},{colour},{shape}-{number},flat")
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder
