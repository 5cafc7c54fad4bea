"""products, similar_products, similar_lists, look_products, quality -> the warehouse; then the site reads this run."""

import sys

from wearalike.pipeline.publish_tables import main

if __name__ == "__main__":
    sys.exit(main())
