"""codes -> indexes: which item stands for which product, and one binary Faiss index a super-category."""

import sys

from wearalike.pipeline.build_indexes import main

if __name__ == "__main__":
    sys.exit(main())
