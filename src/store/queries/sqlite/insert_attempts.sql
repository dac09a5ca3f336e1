-- No conflict target: a row steps back both for its own key and for a final outcome that is there already.
-- OR FAIL: whatever else is wrong with a row ends the transaction that this is in, so SQLite need not be able to undo the statement alone, for
-- which it would keep a copy of each page as it was.
INSERT OR FAIL INTO attempts (day, notification, attempt, team, subscription, destination, event_type, event_id, source_topic,
                      source_partition, source_offset, index_version, at, duration_ms, code, error, message, response,
                      outcome, next_attempt_at, content)
VALUES {rows}
ON CONFLICT DO NOTHING
