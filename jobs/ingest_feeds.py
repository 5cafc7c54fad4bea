"""The stage ingest_feeds, for spark-submit and schedulers other than Airflow."""

import sys

from wearalike.pipeline.ingest_feeds import main

if __name__ == "__main__":
    sys.exit(main())
