"""run's tables -> quality: measures, floors and the verdict; what is published has passed here."""

import sys

from wearalike.pipeline.report_quality import main

if __name__ == "__main__":
    sys.exit(main())
