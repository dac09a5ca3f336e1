-- No conflict target: a row steps back both for its own key and for a final outcome that is there already.
INSERT INTO attempts (day, notification, attempt, team, subscription, destination, event_type, event_id, source_topic,
                      source_partition, source_offset, index_version, at, duration_ms, code, error, message, response,
                      outcome, next_attempt_at, content)
VALUES {rows}
ON CONFLICT DO NOTHING
