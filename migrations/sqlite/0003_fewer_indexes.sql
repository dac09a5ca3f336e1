-- Most of what a row cost was its indexes: of each, a page of 4 KiB is written for nearly every row, for keys that are hashes and
-- for the tails of many destinations alike.

-- One listing index for a team instead of three. It grows at its end only, and whether a row is of a destination or subscription
-- is seen in it; a quiet destination's listing walks the team's entries, which for one machine's rows is soon done.
DROP INDEX attempts_team;
DROP INDEX attempts_destination;
DROP INDEX attempts_subscription;
CREATE INDEX attempts_team ON attempts (team, at, destination, subscription);

-- A final outcome is never overwritten: the primary key's index, which the insert touches anyway, tells whether there is one.
DROP INDEX attempts_final;
CREATE TRIGGER attempts_final BEFORE INSERT ON attempts
WHEN NEW.outcome IS NOT NULL
 AND EXISTS (SELECT 1 FROM attempts a WHERE a.notification = NEW.notification AND a.day = NEW.day AND a.outcome IS NOT NULL)
BEGIN
    SELECT RAISE(IGNORE);
END;
