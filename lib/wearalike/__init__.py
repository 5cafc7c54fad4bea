"""wearalike: from shops' product feeds to published tables of visually similar products.

The packages, in the data's order:

| package | task |
|---|---|
| tables | every table: its key, its columns with type, unit and meaning |
| settings | data folder, warehouse, device, shops |
| storage | a run's tables and caches; files, folders and locks |
| net | fetch addresses politely, and never from where we must not go |
| imaging | download and decode images; refuse what is no image |
| feeds | feed bytes to offers |
| catalog | the taxonomy, a shop's words to our leaves, the merchandiser's rules |
| models | model files, the known models, promotion and rollback |
| detection | images to items |
| encoding | items to codes |
| search | codes to similar products; photos to products |
| metrics | pure functions that measure retrieval, detection and agreement |
| quality | a run to metrics, drift, thresholds and the gate's verdict |
| reports | a judged run to a page, a workbook and a feed |
| warehouse | DuckDB and PostgreSQL: load, publish, roll back, read, export |
| datasets | labelled photos in other tools' formats |
| training | labelled photos to new weights |
| evaluation | how good the models are, on labelled photos |
| server | the JSON API and the pages over what is published |
| pipeline | the stages of a run |
| airflow | plugin, callbacks and lineage for Airflow |
| ops | examine a deployment; create one |
| sample | the drawn sample shops of the demo |
| commands | the command line |
"""

__version__ = "0.1.0"
