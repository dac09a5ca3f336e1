DELETE FROM parked p
USING unnest($1::bigint[], $2::bytea[]) AS k (day, notification)
WHERE p.day = k.day AND p.notification = k.notification
