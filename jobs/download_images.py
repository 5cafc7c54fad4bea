"""products -> images: fetches every picture of a run's products, and keeps it by content."""

import sys

from wearalike.pipeline.download_images import main

if __name__ == "__main__":
    sys.exit(main())
