-- Final outcomes and parked rows of the given keys; $1 is JSON: [[day, notification in hexadecimal], ...].
WITH k (day, notification) AS (SELECT value ->> 0, unhex(value ->> 1) FROM json_each($1))
SELECT a.notification, a.outcome, a.content
FROM k CROSS JOIN attempts a ON a.day = k.day AND a.notification = k.notification AND a.outcome IS NOT NULL
UNION ALL
SELECT p.notification, NULL, p.content
FROM k CROSS JOIN parked p ON p.day = k.day AND p.notification = k.notification
