"""Find the products most similar to the items in a photo, or in a folder of photos.

**Normal.** Started by hand: *Trigger* shows a form for the photo's path, how many products and for
whom. One task takes some seconds; loading the models and the codes takes most of it. Its log shows
the results. JSON and the photo with numbered items lie in the folder that the log names. The table
`photo_queries` of the warehouse has a row.

**Late** after a minute for one photo: the pool `gpu` is taken by a run's encoding.

**Red.** The log says which photo could not be read, or that nothing is published yet; the other
photos are answered. Clear the task once that is mended. The same question gives the same row, never
a second one.

**Undo** is not needed: nothing that a site reads is changed.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Param, dag

# The path comes from the form, so it goes to the shell as a variable's value, never in the command.
COMMAND = (
    f'{sys.executable} -m wearalike query "$PHOTO" --k {{{{ params.k }}}}'
    "{{ ' --weights ' ~ params.weights if params.weights else '' }}"
    "{{ ' --category ' ~ params.category if params.category else '' }}"
    "{{ ' --gender ' ~ params.gender if params.gender else '' }}"
    "{{ ' --age-group ' ~ params.age_group if params.age_group else '' }}"
)


@dag(
    dag_id="photo_query",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["wearalike"],
    default_args={
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
        "append_env": True,
        "execution_timeout": timedelta(hours=1),
    },
    params={
        "photo": Param(
            type="string",
            pattern=r"^/",
            title="Photo",
            description="path of a photo, or of a folder of photos, on the worker",
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
    BashOperator(
        task_id="query_photo", bash_command=COMMAND, env={"PHOTO": "{{ params.photo }}"}, pool="gpu"
    )


photo_query()
