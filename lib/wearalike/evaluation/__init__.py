"""Quality of encoders and detectors on labelled photos.

- descriptors: encoders and their rivals behind one interface, crops -> feature rows
- extract: photos of a labelled set -> crops and feature rows, cached by content
- rank: feature rows -> exact rankings and their retrieval metrics
- compare_encoders: many descriptors over one set, with paired differences and examples
- ground_truth: labelled photos -> the garments on them, with boxes where these are known
- detectors: detectors behind one interface, image -> boxes
- compare_detectors: detectors over labelled photos, by boxes or by classes
- results, pivot, plots, figures: the numbers as rows, tables and plots
- report: all results on one HTML page that opens from disk
- workbook: all results as an Excel workbook, a sheet a version
"""
