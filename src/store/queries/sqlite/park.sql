-- What has a final outcome is not parked again.
INSERT INTO parked (day, notification, team, subscription, destination, destination_hash, attempts, due, delivery,
                    content)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
WHERE NOT EXISTS (SELECT 1 FROM attempts a WHERE a.day = $1 AND a.notification = $2 AND a.outcome IS NOT NULL)
ON CONFLICT (day, notification) DO UPDATE SET attempts = excluded.attempts, due = excluded.due
