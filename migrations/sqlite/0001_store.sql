-- Attempts, parked notifications, and the owners of delivery partitions. The same columns as in migrations/postgres.
--
-- Times are milliseconds since 1970-01-01T00:00:00Z, days are days since 1970-01-01.

-- One row for each try (attempt 0: an outcome without a try). One table for all days: listings cross days, and an
-- embedded installation is small enough to delete a day row by row. With a rowid, because rows carry answers of up to
-- 4 KiB: new ones are appended, and only the narrow indexes are touched at random places. The key begins with the
-- notification, because a person asks for one without knowing its day.
CREATE TABLE attempts (
    day              INTEGER NOT NULL,
    notification     BLOB    NOT NULL,
    attempt          INTEGER NOT NULL,
    team             TEXT    NOT NULL,
    subscription     TEXT    NOT NULL,
    destination      TEXT    NOT NULL,
    event_type       TEXT    NOT NULL,
    event_id         TEXT    NOT NULL,
    source_topic     TEXT    NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    index_version    INTEGER NOT NULL,
    at               INTEGER NOT NULL,
    duration_ms      INTEGER NOT NULL,
    code             INTEGER,
    error            TEXT,
    message          TEXT,
    response         TEXT,
    outcome          TEXT,
    next_attempt_at  INTEGER,
    PRIMARY KEY (notification, day, attempt)
) STRICT;

-- A final outcome is never overwritten: there is room for one. The look-up before sending reads this index alone.
CREATE UNIQUE INDEX attempts_final ON attempts (notification, day) WHERE outcome IS NOT NULL;

-- Listings, newest first: of all, of a team, of a destination, of a subscription.
CREATE INDEX attempts_at ON attempts (at);
CREATE INDEX attempts_team ON attempts (team, at);
CREATE INDEX attempts_destination ON attempts (team, destination, at);
CREATE INDEX attempts_subscription ON attempts (team, subscription, at);
CREATE INDEX attempts_event ON attempts (event_id);
-- Trouble is rare and asked for most.
CREATE INDEX attempts_undelivered ON attempts (at) WHERE outcome IS DISTINCT FROM 'delivered';
CREATE INDEX attempts_team_undelivered ON attempts (team, at) WHERE outcome IS DISTINCT FROM 'delivered';

-- The days that are dropped whole, as PostgreSQL drops their partitions. Rows of other days go by their age.
CREATE INDEX attempts_day ON attempts (day);
CREATE TABLE days (day INTEGER PRIMARY KEY) STRICT;

-- Notifications that wait for their next attempt.
CREATE TABLE parked (
    day              INTEGER NOT NULL,
    notification     BLOB    NOT NULL,
    team             TEXT    NOT NULL,
    subscription     TEXT    NOT NULL,
    destination      TEXT    NOT NULL,
    destination_hash INTEGER NOT NULL,
    attempts         INTEGER NOT NULL,
    due              INTEGER NOT NULL,
    delivery         BLOB    NOT NULL,
    PRIMARY KEY (day, notification)
) STRICT;

CREATE INDEX parked_due ON parked (due, notification, destination_hash);
CREATE INDEX parked_team ON parked (team, due);

-- The fence: a write whose epoch is not this one is refused. The owner's name is for people.
CREATE TABLE partition_owner (
    partition   INTEGER PRIMARY KEY,
    epoch       INTEGER NOT NULL,
    owner       TEXT    NOT NULL,
    acquired_at INTEGER NOT NULL DEFAULT (unixepoch())
) STRICT;
