-- The observer's own log inside the database, written by triggers that the test installs and the program cannot see.
-- A transaction that is rolled back leaves nothing here, exactly as it leaves nothing anywhere else.

CREATE SCHEMA chaos;

CREATE TABLE chaos.moves (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
    job_id uuid NOT NULL, old_status text, new_status text, dispatch_no int, attempt int, lost int,
    old_token uuid, new_token uuid, xid xid8 DEFAULT pg_current_xact_id(), told text, by_whom text DEFAULT current_setting('application_name')
);
CREATE INDEX ON chaos.moves (job_id, n);
CREATE INDEX ON chaos.moves (old_token);

-- What a job met at a file: each landing of it.
CREATE TABLE chaos.landings (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
    job_id uuid NOT NULL, file_id bigint NOT NULL, old_status text, new_status text
);
CREATE INDEX ON chaos.landings (job_id, file_id);

-- Writes of results by somebody who does not hold the job, or has not let go of it by the very same transaction: there
-- must be none.
CREATE TABLE chaos.strays (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
    relation text NOT NULL, operation text NOT NULL, told text, by_whom text DEFAULT current_setting('application_name')
);

CREATE FUNCTION chaos.move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO chaos.moves (job_id, old_status, new_status, dispatch_no, attempt, lost, old_token, new_token, told)
    VALUES (NEW.id, OLD.status, NEW.status, NEW.dispatch_no, NEW.attempt, NEW.lost, OLD.lease_token, NEW.lease_token,
            nullif(current_setting('chaos.token', true), ''));
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_move AFTER UPDATE ON jobs FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.lease_token IS DISTINCT FROM NEW.lease_token
          OR OLD.dispatch_no IS DISTINCT FROM NEW.dispatch_no)
    EXECUTE FUNCTION chaos.move();

CREATE FUNCTION chaos.landing() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO chaos.landings (job_id, file_id, old_status, new_status)
    VALUES (NEW.job_id, NEW.file_id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status);
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_landing AFTER INSERT OR UPDATE ON sitemap_reads FOR EACH ROW
    WHEN (NEW.status <> 'pending') EXECUTE FUNCTION chaos.landing();

CREATE FUNCTION chaos.fence() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE mine text := nullif(current_setting('chaos.token', true), '');
BEGIN
    IF NOT EXISTS (SELECT FROM jobs WHERE status = 'running' AND lease_token = mine::uuid)
       AND NOT EXISTS (SELECT FROM chaos.moves WHERE old_token = mine::uuid AND xid = pg_current_xact_id()) THEN
        INSERT INTO chaos.strays (relation, operation, told) VALUES (TG_TABLE_NAME, TG_OP, mine);
    END IF;
    RETURN NULL;
END $$;
DO $$
DECLARE relation text;
BEGIN
    FOREACH relation IN ARRAY ARRAY['sitemap_files', 'sitemap_reads', 'sitemap_urls', 'pages', 'page_reads'] LOOP
        EXECUTE format('CREATE TRIGGER chaos_fence AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION chaos.fence()', relation);
    END LOOP;
END $$;
