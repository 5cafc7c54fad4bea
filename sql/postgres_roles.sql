-- The three roles of a PostgreSQL warehouse, for its administrator, once a database: psql -d shop -f sql/postgres_roles.sql
-- Makes the schema wearalike and
--   wearalike_loader: owns the schema and what it makes in it; for the job publish_tables and for rollback.
--   wearalike_reader: reads what is there and what will be there, nothing else; for analysts.
--   wearalike_site: sees nothing until sql/views/site.sql, run by the loader, gives it the site's views; for the site.
-- All log in without a password until you give them one: \password wearalike_loader
CREATE ROLE wearalike_loader LOGIN;
CREATE ROLE wearalike_reader LOGIN;
CREATE ROLE wearalike_site LOGIN;
CREATE SCHEMA wearalike AUTHORIZATION wearalike_loader;
GRANT USAGE ON SCHEMA wearalike TO wearalike_reader, wearalike_site;
ALTER DEFAULT PRIVILEGES FOR ROLE wearalike_loader IN SCHEMA wearalike GRANT SELECT ON TABLES TO wearalike_reader;
ALTER ROLE wearalike_loader SET search_path TO wearalike;
ALTER ROLE wearalike_reader SET search_path TO wearalike;
ALTER ROLE wearalike_reader SET default_transaction_read_only TO on;
ALTER ROLE wearalike_reader SET statement_timeout TO '60s';
ALTER ROLE wearalike_site SET search_path TO wearalike;
ALTER ROLE wearalike_site SET default_transaction_read_only TO on;
ALTER ROLE wearalike_site SET statement_timeout TO '2s';
