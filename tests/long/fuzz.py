"""Coverage-guided fuzzing (atheris) of feeds, images, mappings and addresses: `make fuzz`.

    python tests/long/fuzz.py TARGET FOLDER [libFuzzer's options]

FOLDER keeps the corpus, so that a later run resumes, and every input that fails. Copy such an input
to tests/data/fuzz/<target>/: test_fuzzing.py tries it from then on.
"""

import sys
from pathlib import Path

import atheris

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

with atheris.instrument_imports(
    include=[
        "wearalike.feeds",
        "wearalike.imaging.decode",
        "wearalike.catalog",
        "PIL",
        "wearalike.net.http_client",
    ]
):
    from tests.support import fuzz_targets


def main(target: str, folder: Path, *options: str) -> None:
    corpus = folder / target
    corpus.mkdir(parents=True, exist_ok=True)
    limits = [
        "-timeout=120",
        "-rss_limit_mb=3000",
        "-max_len=20000",
        f"-artifact_prefix={folder / target}-",
    ]
    atheris.Setup(
        [sys.argv[0], *limits, *options, str(corpus), str(fuzz_targets.SEEDS_DIR / target)],
        fuzz_targets.TARGETS[target],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
