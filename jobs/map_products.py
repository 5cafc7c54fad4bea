"""offers -> products: each offer's category mapped to a leaf of the taxonomy, or the offer refused."""

import sys

from wearalike.pipeline.map_products import main

if __name__ == "__main__":
    sys.exit(main())
