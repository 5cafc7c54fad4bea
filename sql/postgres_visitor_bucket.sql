-- The bucket of a visitor in the published experiment, in PostgreSQL; no row without an experiment.
--
-- Reads: current_list_variants.
-- Parameters: $1, the visitor's id; text.
-- Returns: experiment, bucket (0..9999): the first four bytes of the SHA-256 of "<experiment>:<visitor>" in UTF-8, modulo 10,000.
SELECT
    experiment,
    ('x' || substr(encode(sha256(convert_to(experiment || ':' || $1, 'UTF8')), 'hex'), 1, 8))::bit(32)::bigint % 10000 AS bucket
FROM current_list_variants WHERE variant = 'control'
