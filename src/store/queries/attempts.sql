-- Attempts, newest first. Both stores read this text; the conditions are put in by src/store/rows.rs.
SELECT a.day, a.notification, a.attempt, a.team, a.subscription, a.destination, a.event_type, a.event_id,
       a.source_topic, a.source_partition, a.source_offset, a.index_version, a.at, a.duration_ms, a.code, a.error,
       a.message, a.response, a.outcome, a.next_attempt_at, a.content
FROM attempts a
WHERE TRUE /* conditions */
ORDER BY a.at DESC, a.notification DESC, a.attempt DESC
LIMIT $1
