"""looks, indexes -> look_products: for each item that a product is worn with, the products most alike it in stock."""

import sys

from wearalike.pipeline.match_looks import main

if __name__ == "__main__":
    sys.exit(main())
