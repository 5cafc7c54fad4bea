"""The stage build_indexes, for spark-submit and schedulers other than Airflow."""

import sys

from wearalike.pipeline.build_indexes import main

if __name__ == "__main__":
    sys.exit(main())
