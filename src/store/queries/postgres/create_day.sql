-- Gives one day a partition of its own. Rows of that day in the default partition move over first, for PostgreSQL
-- refuses a partition whose rows are elsewhere; the lock keeps new ones from coming between.
BEGIN;
SET LOCAL lock_timeout = '5s';
CREATE TABLE {partition} (LIKE attempts INCLUDING ALL);
LOCK TABLE attempts_default IN SHARE ROW EXCLUSIVE MODE;
WITH moved AS (DELETE FROM attempts_default WHERE day = {day} RETURNING *)
INSERT INTO {partition} SELECT * FROM moved;
ALTER TABLE attempts ATTACH PARTITION {partition} FOR VALUES FROM ({day}) TO ({day} + 1);
COMMIT;
