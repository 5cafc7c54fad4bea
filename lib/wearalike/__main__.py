"""`python -m wearalike` is the command `wearalike`."""

import sys

from wearalike.commands.app import main

if __name__ == "__main__":
    sys.exit(main())
