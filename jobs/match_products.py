"""indexes -> matches, similar_products, similar_lists: the most alike products of every product, exactly."""

import sys

from wearalike.pipeline.match_products import main

if __name__ == "__main__":
    sys.exit(main())
