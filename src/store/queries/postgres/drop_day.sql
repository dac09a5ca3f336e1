-- Waits briefly for statements that read or write attempts; while it waits, they queue behind it.
BEGIN;
SET LOCAL lock_timeout = '5s';
DROP TABLE {partition};
COMMIT;
