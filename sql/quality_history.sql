-- One metric over the runs, those that were pruned too.
-- Reads quality, which holds every run that was ever loaded.
-- $1: metric, text, e.g. precision@10.
-- Returns run, scope, value, low, high (95 % interval), unit, verdict; in the order of runs.
SELECT run, scope, value, low, high, unit, verdict
FROM quality
WHERE metric = $1
ORDER BY run, scope
