-- End sessions of wearalike_site that run, or idle in a transaction, for too long. Keep it running, as the role wearalike_guard:
--   psql -X -U wearalike_guard -d shop -f sql/postgres_guard.sql
--
-- It looks every second, for ever. A session cannot hide: what pg_stat_activity tells is no setting of the role. The server's log names
-- every session that is ended. Limits in seconds, changed by -v NAME=SECONDS:
--   run_s: a statement. idle_s: a transaction without a statement. transaction_s: a transaction, whatever it does.
\set ON_ERROR_STOP on
\if :{?run_s} \else \set run_s 5 \endif
\if :{?idle_s} \else \set idle_s 5 \endif
\if :{?transaction_s} \else \set transaction_s 15 \endif
\pset tuples_only on
SELECT pid, state, pg_terminate_backend(pid) AS is_ended
FROM pg_stat_activity
WHERE usename = 'wearalike_site' AND (
    (state = 'active' AND clock_timestamp() - query_start > make_interval(secs => :run_s))
    OR (state LIKE 'idle in transaction%' AND clock_timestamp() - state_change > make_interval(secs => :idle_s))
    OR clock_timestamp() - xact_start > make_interval(secs => :transaction_s)
) \watch 1
