"""How good the models are, on labelled photos.

describing  a labelled set's photos to crops and to rows of a descriptor, kept by content
retrieval   rows to exact rankings, and their measures
comparison  many descriptors over one trial: measures, paired differences, best and worst queries
detection   boxes and classes against the truth
report      what was measured on one page that opens from disk
workbook    the same as an Excel workbook, a sheet a version
"""
