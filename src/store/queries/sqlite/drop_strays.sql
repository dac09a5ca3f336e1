-- Rows of other days than those dropped whole go by their age: a slice of those attempted before $1.
DELETE FROM attempts
WHERE rowid IN (SELECT rowid FROM attempts WHERE at < $1 AND day NOT IN (SELECT day FROM days) LIMIT $2)
