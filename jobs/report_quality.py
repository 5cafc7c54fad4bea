"""The stage report_quality, for spark-submit and schedulers other than Airflow."""

import sys

from wearalike.pipeline.report_quality import main

if __name__ == "__main__":
    sys.exit(main())
