"""feeds -> offers: pulls every shop's feed and writes the tables feeds and offers of a run."""

import sys

from wearalike.pipeline.ingest_feeds import main

if __name__ == "__main__":
    sys.exit(main())
