-- The same as fences.sql and insert_attempts.sql in one statement and one round trip, for what is written most: attempts that
-- park nothing. The epochs are held until it commits, and nothing is written if one is not the newest: those come back.
WITH held AS MATERIALIZED (
    SELECT partition, epoch FROM partition_owner WHERE partition = ANY($22::bigint[]) ORDER BY partition FOR SHARE
), stale AS MATERIALIZED (
    SELECT f.partition
    FROM unnest($22::bigint[], $23::bigint[]) AS f (partition, epoch)
    LEFT JOIN held h ON h.partition = f.partition
    WHERE h.epoch IS DISTINCT FROM f.epoch
), written AS (
    INSERT INTO attempts (day, notification, attempt, team, subscription, destination, event_type, event_id, source_topic,
                          source_partition, source_offset, index_version, at, duration_ms, code, error, message, response,
                          outcome, next_attempt_at, content)
    SELECT a.*
    FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[],
                $16::text[], $17::text[], $18::text[], $19::text[], $20::bigint[],
                $21::bigint[]) AS a
    WHERE NOT EXISTS (SELECT 1 FROM stale)
    ON CONFLICT DO NOTHING
)
SELECT partition FROM stale
