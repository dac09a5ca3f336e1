-- Rows of days without a partition go by their age: a slice of those attempted before $1.
DELETE FROM attempts_default
WHERE ctid = ANY(ARRAY(SELECT ctid FROM attempts_default WHERE at < $1 LIMIT $2))
