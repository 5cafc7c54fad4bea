"""The stage encode_items, for spark-submit and schedulers other than Airflow."""

import sys

from wearalike.pipeline.encode_items import main

if __name__ == "__main__":
    sys.exit(main())
