-- Tells a repeat of an event from another event under the same id. NULL in rows from before.
ALTER TABLE attempts ADD COLUMN content bigint;
ALTER TABLE parked ADD COLUMN content bigint;

-- The look-up before sending reads this index alone, so it holds what that asks for.
DROP INDEX attempts_final;
CREATE UNIQUE INDEX attempts_final ON attempts (notification, day) INCLUDE (outcome, content) WHERE outcome IS NOT NULL;
