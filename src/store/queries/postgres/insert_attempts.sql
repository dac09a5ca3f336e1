-- No conflict target: a row steps back both for its own key and for a final outcome that is there already.
INSERT INTO attempts (day, notification, attempt, team, subscription, destination, event_type, event_id, source_topic,
                      source_partition, source_offset, index_version, at, duration_ms, code, error, message, response,
                      outcome, next_attempt_at, content)
SELECT *
FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[],
            $16::text[], $17::text[], $18::text[], $19::text[], $20::bigint[],
            $21::bigint[])
ON CONFLICT DO NOTHING
