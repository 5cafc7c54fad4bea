"""Quality of encoders and detectors on labelled photos.

descriptors        encoders and their rivals behind one interface: crops -> feature rows
extract            photos of a labelled set -> crops and feature rows, cached by content
rank               feature rows -> exact rankings and their retrieval metrics
compare_encoders   many descriptors over one set: metrics, paired differences, examples
ground_truth       labelled photos -> the garments on them, with boxes where these are known
compare_detectors  detectors over labelled photos: metrics of boxes or of classes
report             all results on one HTML page that opens from disk
workbook           all results as an Excel workbook, a sheet a version
"""
