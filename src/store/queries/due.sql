-- Parked rows of delivery partition $1 of $2, due up to $3, after ($4, $5).
SELECT day, notification, team, subscription, destination, destination_hash, attempts, due, delivery, content
FROM parked
WHERE destination_hash % $2 = $1 AND due <= $3 AND due >= $4 AND (due, notification) > ($4, $5)
ORDER BY due, notification
LIMIT $6
