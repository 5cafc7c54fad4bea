"""A judged run to what people and dashboards read; nothing in it is fetched from anywhere, every word of a feed is escaped.

page      one run on one page that opens from disk: verdict, funnel, coverage, drift, scores, contact sheets
workbook  the kept runs as an Excel workbook: a sheet a run, and one that compares any two by formulas
lines     one line a run for dashboards, and the same as an Atom feed
"""
