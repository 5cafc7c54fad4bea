"""Quality of a run: metrics, thresholds, checks of every row, and the verdict of the gate.

- metrics: the rows of tables.QUALITY, and a run's tables opened in DuckDB
- run_metrics: all metrics of a run: coverage, refusals, scores, churn, codes, precision
- metric_queries: the SQL of most metrics
- look_metrics: the SQL of metrics of looks
- category_precision: precision by category, against a random draw
- code_agreement: agreement of codes with the shops' words, by shop and super-category
- shop_shares: shares of a shop's products: in stock, filled, equal, contradicted
- shop_changes: changes of a shop since the last run: prices, pictures, looks, kinds of products
- normal_week: a shop's metrics beside the last run and the median of a week
- feed_ages: days since the run whose offers are used
- code_statistics: balance, correlation and number of distinct codes
- drift: changes of scores and categories since the last run
- funnel: how many offers and products reached each step, and why others did not
- thresholds: the range each metric must lie in
- checks: expectations for every row of a table
- check_queries: the SQL of the checks
- gate: Great Expectations over a run's tables; decides if it may be published
- judgements: people's judgements of recommended pairs
- judgement_metrics: precision by judgements, and agreement between judges
"""
