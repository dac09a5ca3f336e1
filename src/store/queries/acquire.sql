-- Raises the epoch of partition $1. Waits for writes that hold the row, so that none of them commits afterwards.
INSERT INTO partition_owner AS o (partition, epoch, owner)
VALUES ($1, 1, $2)
ON CONFLICT (partition) DO UPDATE SET epoch = o.epoch + 1, owner = excluded.owner, acquired_at = excluded.acquired_at
RETURNING epoch
