-- What the role wearalike_site may take of the server. An administrator runs it once a database, after
-- postgres_roles.sql, and again after an upgrade:
--   psql -d shop -f sql/postgres_limits.sql
--
-- PostgreSQL enforces here: no temporary tables, no large objects, no advisory locks (but the loader's), no tables of its own, at most
-- 40 sessions, at most 256 MB of temporary files a session.
-- PostgreSQL cannot enforce a role's statement_timeout, work_mem and the like: ALTER ROLE ... SET is a default that a session may
-- change, and no privilege withholds it. So sql/postgres_guard.sql ends sessions that run or idle too long; keep it running. Memory of
-- one statement stays the site's own word.
ALTER ROLE wearalike_site CONNECTION LIMIT 40;
-- A superuser's parameter: the role cannot change it.
ALTER ROLE wearalike_site SET temp_file_limit TO '256MB';
-- Defaults of its sessions.
ALTER ROLE wearalike_site SET statement_timeout TO '2s';
ALTER ROLE wearalike_site SET idle_in_transaction_session_timeout TO '5s';
ALTER ROLE wearalike_site SET lock_timeout TO '1s';
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
DO $$
DECLARE
    routine regprocedure;
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    FOR routine IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
        AND proname ~ '^(lo_.*|loread|lowrite|pg_(try_)?advisory_.*)$'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', routine);
        IF routine::text ~ 'advisory' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO wearalike_loader', routine);
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'wearalike_guard') THEN
        CREATE ROLE wearalike_guard LOGIN CONNECTION LIMIT 2;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO wearalike_guard', current_database());
END
$$;
GRANT pg_signal_backend, pg_read_all_stats TO wearalike_guard;
