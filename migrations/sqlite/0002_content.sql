-- Tells a repeat of an event from another event under the same id. NULL in rows from before.
ALTER TABLE attempts ADD COLUMN content INTEGER;
ALTER TABLE parked ADD COLUMN content INTEGER;
