-- Most of what a row cost was its indexes: 27 µs of the server's time with nine of them, 18 with six.

-- One place for each try that did not end its notification, and one for the outcome, which is never overwritten. Two indexes held
-- the same hashes for that, each written at a place of its own. The look-up before sending reads this one alone.
CREATE UNIQUE INDEX attempts_once ON attempts (notification, day, (CASE WHEN outcome IS NULL THEN attempt ELSE -1 END))
    INCLUDE (outcome, content);
ALTER TABLE attempts DROP CONSTRAINT attempts_pkey;
DROP INDEX attempts_final;

-- One listing index for a team instead of three, as in the embedded store. It grows at its end only, and whether a row is of a
-- destination or subscription is seen in it: a quiet one's listing walks the team's entries, a million of them in a fraction of a
-- second, or those since a given time.
DROP INDEX attempts_team;
DROP INDEX attempts_destination;
DROP INDEX attempts_subscription;
CREATE INDEX attempts_team ON attempts (team, at, destination, subscription);
