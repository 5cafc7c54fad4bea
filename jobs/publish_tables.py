"""The stage publish_tables, for spark-submit and schedulers other than Airflow."""

import sys

from wearalike.pipeline.publish_tables import main

if __name__ == "__main__":
    sys.exit(main())
