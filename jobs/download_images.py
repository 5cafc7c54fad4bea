"""The stage download_images, for spark-submit and schedulers other than Airflow."""

import sys

from wearalike.pipeline.download_images import main

if __name__ == "__main__":
    sys.exit(main())
