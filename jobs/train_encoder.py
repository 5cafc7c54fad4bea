"""images -> the weights of the encoder imagenet-itq: its palette and its two rotations, as one safetensors file.

Nothing is labelled: it takes a text file that lists pictures, one path a line, and looks at the item that stands
out of each. The file's sha256, which models.py must name, is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearalike import codes, items, job, models, pixels
from wearalike.training import itq

log = logging.getLogger("wearalike.train_encoder")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--images", type=Path, required=True, help="text file, one picture's path a line")
    made.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    made.add_argument("--palette", type=int, default=128, help="colours of the palette (default: %(default)s)")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return made


def work(args: argparse.Namespace) -> None:
    from safetensors.numpy import save

    crops = list(map(crop, args.images.read_text(encoding="utf-8").splitlines()))
    log.info("%d pictures", len(crops))
    pixel_sample = np.concatenate([some_pixels(c, args.seed + i) for i, c in enumerate(crops)])
    arrays = {"palette": itq.palette(pixel_sample, args.palette, args.seed)}
    histograms = np.stack([codes.colour_histogram(c, arrays["palette"]) for c in crops])
    arrays["colour_mean"], arrays["colour_rotation"] = itq.rotation(np.sqrt(histograms), args.seed)
    network = codes.Features(models.EFFICIENTNET_LITE0, models.device(args.device))
    progress, found = job.Progress("pictures", len(crops)), []
    for start in range(0, len(crops), 256):
        found.append(network(crops[start : start + 256]))
        progress.add(len(found[-1]))
    arrays["shape_mean"], arrays["shape_rotation"] = itq.rotation(np.concatenate(found), args.seed)
    content = save(arrays, metadata={"pictures": json.dumps(len(crops)), "seed": json.dumps(args.seed)})
    args.out.write_bytes(content)
    print(args.out, hashlib.sha256(content).hexdigest())


def crop(path: str) -> NDArray[np.uint8]:
    """The item that stands out of a picture, as the night would crop it."""
    image = pixels.decode(Path(path).read_bytes())
    row = items.look(items.Foreground(), "", Path(path).read_bytes())[0]
    return pixels.crop(image, (row["x0"], row["y0"], row["x1"], row["y1"]))


def some_pixels(picture: NDArray[np.uint8], seed: int, count: int = 16) -> NDArray[np.float32]:
    lab, weights = codes.item_pixels(picture)
    return lab[np.random.default_rng(seed).choice(len(lab), count, p=weights / weights.sum())]


def main(argv: list[str] | None = None) -> int:
    return job.main(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
