"""Encoders on several networks, trained alike on a few pictures and asked the same questions.

    python -m tests.benchmarks.backbones --data shop=FOLDER --pairs PAIRS \\
        --backbone tf_efficientnet_lite1=lite1.safetensors --out build/backbones

EfficientNet-Lite0, the network under the packaged encoder, is always the first line. It goes on
where it stopped, prints the table, and writes it to backbones.md in the folder of --out.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measure import median_processor_seconds

from wearalike.commands import app
from wearalike.commands.evaluated_sets import OWN_CROP_SUFFIX
from wearalike.encoding import encoders, likeness_net
from wearalike.imaging import decode
from wearalike.models import registry

OWN_NETWORK = "efficientnet-lite0"
# Pictures of each set that are learned from, pairs that ask, and pictures to measure the speed on.
PICTURES, QUERIES, SPEED_PICTURES = 150, 476, 16
RECIPE = ("--steps", "300", "--products", "48", "--mask-steps", "100", "--mask-views", "300")
# Both ways to crop the worn pictures, as `wearalike evaluate` names the set of pairs.
CROPS, KS = ("pairs", f"pairs{OWN_CROP_SUFFIX}"), (1, 10)


def write_small_set(source: Path, folder: Path, table: str, count: int) -> None:
    """Write a folder with some rows of a table of pictures, spread over it, and the same pictures.

    Where the table has splits, the rows are those of the train split.
    """
    with (source / table).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("split", "train") == "train"]
    if not rows:
        raise ValueError(f"{source / table}: no row of split train")
    chosen = rows[:: max(1, len(rows) // count)][:count]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / table).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(chosen)
    for pictures in (child for child in source.iterdir() if child.is_dir()):
        if not (folder / pictures.name).exists():
            (folder / pictures.name).symlink_to(pictures.resolve())


def run(*arguments: str) -> None:
    """Run a command of wearalike's; a failure ends the table."""
    if code := app.main(list(arguments)):
        raise SystemExit(code)


def train(name: str, weights: str, sets: Sequence[Path], out: Path) -> Path:
    """Train an encoder on a network, or go on with it; return its file."""
    version = f"{name.replace('_', '-')}-1"
    network = [] if name == OWN_NETWORK else ["--backbone", name]
    network += ["--backbone-weights", weights] if weights else []
    data = [text for folder in sets for text in ("--data", f"folder={folder}")]
    common = ("--device", "cpu", "--init-from", "imagenet", "--version", version)
    run("train", "encoder", *data, *common, "--out", str(out / name), *RECIPE, *network)
    return out / name / f"{version}.safetensors"


def measure_speed(files: Sequence[Path], pictures: Path) -> list[float]:
    """Return the processor seconds that each encoder takes for the same pictures, in turn."""
    paths = sorted((pictures / "flats").iterdir())[:SPEED_PICTURES]
    crops = [decode.decode_image(path.read_bytes()) for path in paths]
    built = [encoders.build_encoder(registry.read_model(file), "cpu") for file in files]
    return median_processor_seconds([lambda one=one: one.encode(crops) for one in built])


def count_bytes(file: Path) -> int:
    """Return the bytes of an encoder's weights in float16, the network's own among them."""
    model = registry.read_model(file)
    network = likeness_net.load_likeness_net(model.arrays, model.architecture)
    return 2 * sum(parameter.numel() for parameter in network.parameters())


def build_table(files: Sequence[Path], seconds: Sequence[float], report: Path) -> str:
    """Return the table in Markdown: a line an encoder, recalls at 1:1 with 95 % intervals.

    The speed is a ratio to the first line.
    """
    rows = json.loads((report / "evaluation.json").read_text(encoding="utf-8"))
    found = {
        (row["encoder"], row["dataset"], row["k"]): row
        for row in rows
        if row["measure"] == "recall product" and row["distance"] == "hamming 1:1"
    }
    lines = [
        "| network | worn → flat, true box, R@1 | R@10 | own crop, R@1 | R@10 | images/s | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for file, one_seconds in zip(files, seconds, strict=True):
        cells = [file.stem.removesuffix("-1")]
        for crops, k in itertools.product(CROPS, KS):
            row = found[file.stem, crops, k]
            cells.append(f"{row['value']:.3f} ({row['low']:.3f}-{row['high']:.3f})")
        cells += [f"{seconds[0] / one_seconds:.2f}", f"{count_bytes(file) / 1e6:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", metavar="NAME=FOLDER", action="append", required=True)
    parser.add_argument("--pairs", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--backbone", metavar="NAME=FILE", action="append", default=[])
    parser.add_argument("--pictures", type=int, default=PICTURES, help="of each set; %(default)s")
    parser.add_argument("--queries", type=int, default=QUERIES, help="pairs; %(default)s")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    sets = []
    for name, _, source in (text.partition("=") for text in args.data):
        sets.append(args.out / "sets" / name)
        write_small_set(Path(source), sets[-1], "labels.csv", args.pictures)
    pairs = args.out / "sets" / "pairs"
    write_small_set(args.pairs, pairs, "pairs.csv", args.queries)
    networks = [(OWN_NETWORK, ""), *(tuple(text.split("=", 1)) for text in args.backbone)]
    files = [train(name, weights, sets, args.out) for name, weights in networks]
    report = args.out / "report"
    encoder_options = [text for file in files for text in ("--encoder", str(file))]
    asked = ("--data", f"pairs={pairs}", "--split", "all", "--distance", "hamming 1:1")
    run("evaluate", *encoder_options, *asked, "--out", str(report))
    table = build_table(files, measure_speed(files, pairs), report)
    (args.out / "backbones.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
