-- What has a final outcome is not parked again. $11 holds the days, so that other days' partitions are not opened.
INSERT INTO parked (day, notification, team, subscription, destination, destination_hash, attempts, due, delivery,
                    content)
SELECT k.*
FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
            $9::bytea[], $10::bigint[]) AS k (day, notification, team, subscription, destination, destination_hash, attempts, due,
                               delivery, content)
WHERE NOT EXISTS (SELECT 1
                  FROM attempts a
                  WHERE a.day = k.day AND a.notification = k.notification AND a.outcome IS NOT NULL
                    AND a.day = ANY($11::bigint[]))
ON CONFLICT (day, notification) DO UPDATE SET attempts = excluded.attempts, due = excluded.due
