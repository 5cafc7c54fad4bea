"""Reports of runs, for people and dashboards.

- html: the one Jinja environment; every value is escaped
- run_page: one run on one page: verdict, funnel, coverage, drift, scores, contact sheets
- contact_sheet: products with their recommendations, as pictures
- workbook: runs as an Excel workbook, with a sheet that compares any two by formulas
- spreadsheet: writing workbooks in which data is never a formula
- run_feed: one line a run for dashboards, and the same as an Atom feed

Pages open from disk and load nothing from elsewhere.
"""
