#!/bin/sh
# The three roles, once, when the cluster is made.
set -eu
psql -v ON_ERROR_STOP=1 -U postgres -v owner="$OWNER_PASSWORD" -v app="$APP_PASSWORD" -v system="$SYSTEM_PASSWORD" <<'SQL'
CREATE ROLE scrapersky_owner LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'owner';
CREATE ROLE scrapersky_app LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'app';
CREATE ROLE scrapersky_system LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'system';
CREATE DATABASE scrapersky OWNER scrapersky_owner;
REVOKE ALL ON DATABASE scrapersky FROM PUBLIC;
GRANT CONNECT ON DATABASE scrapersky TO scrapersky_owner, scrapersky_app, scrapersky_system;
GRANT TEMPORARY ON DATABASE scrapersky TO scrapersky_app;
SQL
