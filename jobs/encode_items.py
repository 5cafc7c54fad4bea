"""items -> codes: turns every item of a run into 128 bits of shape and 128 bits of colour."""

import sys

from wearalike.pipeline.encode_items import main

if __name__ == "__main__":
    sys.exit(main())
