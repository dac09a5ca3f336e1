-- $1 is JSON: [[day, notification in hexadecimal], ...].
DELETE FROM parked
WHERE (day, notification) IN (SELECT value ->> 0, unhex(value ->> 1) FROM json_each($1))
