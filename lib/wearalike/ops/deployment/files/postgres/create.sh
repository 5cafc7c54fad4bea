#!/usr/bin/env bash
# The databases `airflow` and `shop`, and their roles with the passwords of the environment. For a new, empty server.
# Reads postgres_roles.sql and postgres_limits.sql of ${SQL:-/sql}; connects as libpq's own variables (PGHOST, PGPORT, PGUSER) say.
set -euo pipefail
run() { psql -X -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -q "$@"; }

run -d postgres -v password="$AIRFLOW_DATABASE_PASSWORD" <<'END'
CREATE ROLE airflow LOGIN PASSWORD :'password';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE shop;
REVOKE CONNECT ON DATABASE airflow FROM PUBLIC;
END
run -d shop -f "${SQL:-/sql}/postgres_roles.sql"
run -d shop -v loader="$LOADER_PASSWORD" -v reader="$READER_PASSWORD" -v site="$SITE_PASSWORD" -v guard="$GUARD_PASSWORD" \
    -f "${SQL:-/sql}/postgres_limits.sql" -f - <<'END'
ALTER ROLE wearalike_loader PASSWORD :'loader';
ALTER ROLE wearalike_reader PASSWORD :'reader';
ALTER ROLE wearalike_site PASSWORD :'site';
ALTER ROLE wearalike_guard PASSWORD :'guard';
REVOKE ALL ON DATABASE shop FROM PUBLIC;
GRANT CONNECT ON DATABASE shop TO wearalike_loader, wearalike_reader, wearalike_site, wearalike_guard;
END
