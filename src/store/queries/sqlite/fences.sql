-- The newest epochs of these partitions.
SELECT partition, epoch FROM partition_owner WHERE partition IN (SELECT value FROM json_each($1))
