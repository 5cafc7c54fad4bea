"""The stage match_products, for spark-submit and schedulers other than Airflow."""

import sys

from wearalike.pipeline.match_products import main

if __name__ == "__main__":
    sys.exit(main())
