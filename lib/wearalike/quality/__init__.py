"""Any run to measures, floors and the verdict.

retrieval   how good ranked lists are: precision, mAP, hit, recall, relevance, with intervals
measures    a night in numbers: coverage, refusals, scores, churn, codes, precision against chance
drift       how far a night has moved from the last one
funnel      how far its offers and products got, and why they got no further
looks       what is measured of looks
floors      where the measures have to lie
checks      what must hold of every row, in SQL and expectations
gate        Great Expectations over the run's tables: what must hold before anything is published
"""
