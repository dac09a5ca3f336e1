-- Final outcomes and parked rows of the given keys. $3 holds the days, so that other days' partitions are not opened;
-- the limits keep each look-up one index probe, whatever the planner believes of a young partition.
SELECT k.notification, f.outcome, f.content
FROM unnest($1::bigint[], $2::bytea[]) AS k (day, notification)
CROSS JOIN LATERAL (SELECT a.outcome, a.content
                    FROM attempts a
                    WHERE a.day = k.day AND a.notification = k.notification AND a.outcome IS NOT NULL
                      AND a.day = ANY($3::bigint[])
                    LIMIT 1) AS f
UNION ALL
SELECT k.notification, NULL, p.content
FROM unnest($1::bigint[], $2::bytea[]) AS k (day, notification)
CROSS JOIN LATERAL (SELECT p.content FROM parked p WHERE p.day = k.day AND p.notification = k.notification LIMIT 1) AS p
