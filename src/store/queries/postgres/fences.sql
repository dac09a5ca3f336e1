-- The newest epochs of these partitions, held until the write commits.
SELECT partition, epoch FROM partition_owner WHERE partition = ANY($1) ORDER BY partition FOR SHARE
