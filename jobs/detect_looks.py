"""The stage detect_looks, for spark-submit and schedulers other than Airflow."""

import sys

from wearalike.pipeline.detect_looks import main

if __name__ == "__main__":
    sys.exit(main())
