"""wearalike: from shops' product feeds to published tables of visually similar products.

The rooms, in the data's order:

tables      every table: its key, its columns with type, unit and meaning
settings    the place a run happens in: root, warehouse, device, shops
texts       columns of texts of a million rows, in a few bytes a row
placing     a folder put in place whole or not at all, whoever else is at it
store       where a run's tables lie: written whole or not at all, counted
web         addresses to bytes: politely, and never to where we must not go
pixels      bytes to pixels; bytes that are not a picture are refused here
decoding    pictures of strangers tried by processes that may crash
labels      label files of other tools (COCO, YOLO) to boxes; every bad one named
labelled    labelled photos, whoever labelled them, as one small record
categories  taxonomy and mappings: a shop's words to our leaves
models      the models we know, model files, and which model is to be used
feeds       feed bytes to offers
images      products to images
garments    the classes that a detector tells apart, and other people's words for them
detectors   networks that see garments, shoes and bags
items       images to items
hashnet     the network of our own encoder
codes       items to codes
indexes     codes to one Faiss index a super-category
kernel      the best k of many codes by weighted Hamming distance, compiled
kernel_torch  the same search by matrix products, for a GPU
matches     codes to matches: exact weighted search and the rules
shortlists  what could be near a photo's code, where there are too many to look at each
quality     any run to measures, drift, floors and the verdict
judgements  pairs that people judge: which are shown, what came of it
warehouse   DuckDB and PostgreSQL: the same six verbs, and readers that stay open
looks       items of one image to looks: what else a product is worn with
publish     a judged run to what the site reads; the pointer; rollback
training    labelled data to new weights
shelves     what a run can be searched for, and what is shown of it
photos      a shopper's photo to products
descriptors what encoders are compared with
evaluation  how good the models are, on labelled photos
spreadsheet Excel workbooks in which no text of the data is a formula or a link
promotion   a candidate model to the promoted one, if it is better; rollback
viewer      the JSON API and pages over what is published
reports     a judged run to what people and dashboards read: a page, a workbook, a line, a feed
sample      the drawn sample shops that the demo runs on, and a shop of real photos
export      what is published, as keys and values
deployment  a folder to run it all from
doctor      what a night needs, examined where it is to run
job, cli    what jobs have in common; what a person types
"""

__version__ = "0.1.0"
