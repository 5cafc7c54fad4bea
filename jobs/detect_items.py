"""images -> items: sees the garments, shoes and bags in every image of a run."""

import sys

from wearalike.pipeline.detect_items import main

if __name__ == "__main__":
    sys.exit(main())
