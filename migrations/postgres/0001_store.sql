-- Attempts, parked notifications, and the owners of delivery partitions.
--
-- Every number is bigint: Rust's u32 does not fit integer, and one type makes one row mapping. Times are milliseconds
-- since 1970-01-01T00:00:00Z, days are days since 1970-01-01: an event may claim a day that no date type can hold.

-- One row for each try (attempt 0: an outcome without a try). Partitioned by the event's day so that a day is dropped
-- whole. Days without a partition of their own, such as 1970 or next year, are in the default one. The key begins with
-- the notification, because a person asks for one without knowing its day.
CREATE TABLE attempts (
    day              bigint NOT NULL,
    notification     bytea  NOT NULL,
    attempt          bigint NOT NULL,
    team             text   NOT NULL,
    subscription     text   NOT NULL,
    destination      text   NOT NULL,
    event_type       text   NOT NULL,
    event_id         text   NOT NULL,
    source_topic     text   NOT NULL,
    source_partition bigint NOT NULL,
    source_offset    bigint NOT NULL,
    index_version    bigint NOT NULL,
    at               bigint NOT NULL,
    duration_ms      bigint NOT NULL,
    code             bigint,
    error            text,
    message          text,
    response         text,
    outcome          text,
    next_attempt_at  bigint,
    PRIMARY KEY (notification, day, attempt)
) PARTITION BY RANGE (day);

CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

-- A final outcome is never overwritten: there is room for one. The look-up before sending reads this index alone.
CREATE UNIQUE INDEX attempts_final ON attempts (notification, day) INCLUDE (outcome) WHERE outcome IS NOT NULL;

-- Listings, newest first: of all, of a team, of a destination, of a subscription.
CREATE INDEX attempts_at ON attempts (at);
CREATE INDEX attempts_team ON attempts (team, at);
CREATE INDEX attempts_destination ON attempts (team, destination, at);
CREATE INDEX attempts_subscription ON attempts (team, subscription, at);
-- By event: a hash, because an event's id may be longer than a tree's entry.
CREATE INDEX attempts_event ON attempts USING hash (event_id);
-- Trouble is rare and asked for most.
CREATE INDEX attempts_undelivered ON attempts (at) WHERE outcome IS DISTINCT FROM 'delivered';
CREATE INDEX attempts_team_undelivered ON attempts (team, at) WHERE outcome IS DISTINCT FROM 'delivered';

-- Notifications that wait for their next attempt. Rows come and go, so vacuum often.
CREATE TABLE parked (
    day              bigint NOT NULL,
    notification     bytea  NOT NULL,
    team             text   NOT NULL,
    subscription     text   NOT NULL,
    destination      text   NOT NULL,
    destination_hash bigint NOT NULL,
    attempts         bigint NOT NULL,
    due              bigint NOT NULL,
    delivery         bytea  NOT NULL,
    PRIMARY KEY (day, notification)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);

CREATE INDEX parked_due ON parked (due, notification) INCLUDE (destination_hash);
CREATE INDEX parked_team ON parked (team, due);

-- The fence: a write whose epoch is not this one is refused. The owner's name is for people.
CREATE TABLE partition_owner (
    partition   bigint PRIMARY KEY,
    epoch       bigint NOT NULL,
    owner       text   NOT NULL,
    acquired_at timestamptz NOT NULL DEFAULT now()
);
