-- The three roles of a PostgreSQL warehouse. An administrator runs it once a database:
--   psql -d shop -f sql/postgres_roles.sql
--
-- Creates the schema wearalike and the roles:
--   wearalike_loader: owns the schema and its tables. The stage publish_tables and rollbacks use it.
--   wearalike_reader: reads all tables, now and later, and changes none. For analysts.
--   wearalike_site: sees nothing until the loader runs sql/views/site.sql. For the site.
-- All log in without a password until you set one: \password wearalike_loader
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
