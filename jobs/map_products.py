"""The stage map_products, for spark-submit and schedulers other than Airflow."""

import sys

from wearalike.pipeline.map_products import main

if __name__ == "__main__":
    sys.exit(main())
