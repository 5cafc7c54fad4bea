-- List one metric over all runs, pruned ones too.
--
-- Reads: quality. It holds every run that was ever loaded. A DuckDB file opened by itself has its own run alone;
--   the others are in quality/**/*.parquet of its folder, for read_parquet.
-- Parameters: $1, the metric, e.g. precision@10; text.
-- Returns, in the order of runs: run, scope, value, low and high (95 % interval), unit, verdict.
SELECT run, scope, value, low, high, unit, verdict
FROM quality
WHERE metric = $1
ORDER BY run, scope
