-- Notifications as their newest attempt shows them: the one with the outcome, else the last try. Both stores read this
-- text; the conditions are put in by src/store/rows.rs. The inner queries are scalar so that they stay one index probe
-- for each row walked, and the walk ends at the limit.
SELECT a.day, a.notification, a.attempt, a.team, a.subscription, a.destination, a.event_type, a.event_id,
       a.source_topic, a.source_partition, a.source_offset, a.index_version, a.at, a.duration_ms, a.code, a.error,
       a.message, a.response, a.outcome, a.next_attempt_at, a.content,
       (SELECT p.due FROM parked p WHERE p.day = a.day AND p.notification = a.notification) AS due
FROM attempts a
WHERE (a.outcome IS NOT NULL
       OR ((SELECT f.attempt
            FROM attempts f
            WHERE f.day = a.day AND f.notification = a.notification AND f.outcome IS NOT NULL
            LIMIT 1) IS NULL
           AND a.attempt = (SELECT n.attempt
                            FROM attempts n
                            WHERE n.day = a.day AND n.notification = a.notification AND n.outcome IS NULL
                            ORDER BY n.attempt DESC
                            LIMIT 1))) /* conditions */
ORDER BY a.at DESC, a.notification DESC, a.attempt DESC
LIMIT $1
