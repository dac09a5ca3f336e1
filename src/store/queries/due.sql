-- Parked rows of delivery partition $1 of $2, due up to $3, after ($4, $5). The CASE is for PostgreSQL's planner: it takes the
-- bare comparison for one row in 200, and then reads and sorts all that is due rather than walk the index until $6.
SELECT day, notification, team, subscription, destination, destination_hash, attempts, due, delivery, content
FROM parked
WHERE CASE WHEN destination_hash % $2 = $1 THEN true ELSE false END
  AND due <= $3 AND due >= $4 AND (due, notification) > ($4, $5)
ORDER BY due, notification
LIMIT $6
