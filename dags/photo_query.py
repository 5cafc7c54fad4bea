"""Find the products most similar to the items in a photo, or in a folder of photos.

**Normal.** Started by hand: *Trigger* shows a form for the photo, how many products and for whom.
The photo is a path on the worker, a public address, or an upload: a text
`data:image/jpeg;base64,…`, which a program sends as the parameter `photo`. One task takes some
seconds; loading the models and the codes takes most of it. Its log shows the results. JSON and the
photo with numbered items lie in the folder that the log names. The table `photo_queries` of the
warehouse has a row.

**Late** after a minute for one photo: the pool `gpu` is taken by a run's encoding.

**Red.** The log says which photo could not be read, or that nothing is published yet; the other
photos are answered. Clear the task once that is mended. The same question gives the same row, never
a second one.

**Undo** is not needed: nothing that a site reads is changed.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

# Parameters that are options of `wearalike query`, by the option.
OPTIONS = {
    "k": "--k",
    "weights": "--weights",
    "category": "--category",
    "gender": "--gender",
    "age_group": "--age-group",
}


@dag(
    dag_id="photo_query",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["wearalike"],
    default_args={
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
        "execution_timeout": timedelta(hours=1),
    },
    params={
        "photo": Param(
            type="string",
            pattern=r"^(/|https?://|data:image/)",
            maxLength=43_000_000,
            title="Photo",
            description="an address (https://…), or a path of a photo or folder on the worker, "
            "or an upload as data:image/jpeg;base64,…",
        ),
        "k": Param(
            10,
            type="integer",
            minimum=1,
            maximum=100,
            title="Products",
            description="how many, for each item in the photo",
        ),
        "weights": Param(
            None,
            type=["null", "string"],
            pattern=r"^(10|[0-9]):(10|[0-9])(:(10|[0-9]))?$",
            title="Shape : colour : kind",
            description="weights, e.g. 2:8 or 2:8:5; empty: the category's",
        ),
        "category": Param(
            None,
            type=["null", "string"],
            pattern=r"^[a-z0-9.-]+$",
            title="Category",
            description="leaf of the taxonomy that the item is of; empty: kinds do not count",
        ),
        "gender": Param(
            None,
            type=["null", "string"],
            enum=[None, "female", "male", "unisex"],
            description="for whom; empty: anybody",
        ),
        "age_group": Param(
            None,
            type=["null", "string"],
            enum=[None, "newborn", "infant", "toddler", "kids", "adult"],
            description="for whom; empty: anybody",
        ),
    },
)
def photo_query() -> None:
    """Build the DAG: one task."""

    @task(task_id="query_photo", pool="gpu")
    def query_photo(params: dict[str, Any] | None = None) -> None:
        """Ask about the photo; an upload goes to standard input."""
        given = params or {}
        photo = str(given["photo"])
        upload = photo.encode() if photo.startswith("data:") else None
        command = [sys.executable, "-m", "wearalike", "query"]
        for name, option in OPTIONS.items():
            if given.get(name) is not None:
                command += [option, str(given[name])]
        # No shell sees what a form says.
        command += ["--", "-" if upload else photo]
        subprocess.run(command, input=upload, check=True)

    query_photo()


photo_query()
