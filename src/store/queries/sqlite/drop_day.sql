-- A slice of one day's rows.
DELETE FROM attempts WHERE rowid IN (SELECT rowid FROM attempts WHERE day = $1 LIMIT $2)
