"""images, items -> looks: sees what else products are worn with in their own full-figure images, and encodes it."""

import sys

from wearalike.pipeline.detect_looks import main

if __name__ == "__main__":
    sys.exit(main())
