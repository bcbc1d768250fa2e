-- Times are CLOCK_MONOTONIC in seconds, which all processes of a machine share until it boots anew.

CREATE TABLE IF NOT EXISTS nodes (
    node    TEXT PRIMARY KEY,
    expires REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS streams (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    stream    TEXT NOT NULL UNIQUE,
    principal TEXT,
    label     TEXT,
    record    BLOB NOT NULL,
    node      TEXT NOT NULL,
    epoch     INTEGER NOT NULL DEFAULT 1,
    expires   REAL              -- null while the log is open
);
CREATE INDEX IF NOT EXISTS streams_by_principal ON streams (principal, number);
CREATE INDEX IF NOT EXISTS streams_by_label ON streams (label, number) WHERE label IS NOT NULL;
CREATE INDEX IF NOT EXISTS streams_open ON streams (node) WHERE expires IS NULL;
CREATE INDEX IF NOT EXISTS streams_ended ON streams (expires) WHERE expires IS NOT NULL;

-- What another process needs to go on with an open stream: apart, since few have it, and it goes
-- when the stream has ended.
CREATE TABLE IF NOT EXISTS plans (
    number INTEGER PRIMARY KEY,
    plan   BLOB NOT NULL
);

-- The tail of a log is its last row: finding it and appending behind it touch one page.
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    data   BLOB NOT NULL,
    PRIMARY KEY (number, epoch, seq)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS claims (
    key     TEXT PRIMARY KEY,
    value   TEXT NOT NULL,
    expires REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claims_ended ON claims (expires);

CREATE TABLE IF NOT EXISTS boots (
    boot TEXT NOT NULL
);

-- The last part of the name of the folder in which processes find each other.
CREATE TABLE IF NOT EXISTS folders (
    name TEXT NOT NULL
);

-- Notes to processes that no datagram reaches.
CREATE TABLE IF NOT EXISTS notes (
    node   TEXT NOT NULL,
    stream TEXT NOT NULL,
    note   TEXT NOT NULL,
    sender TEXT NOT NULL,
    at     REAL NOT NULL,
    PRIMARY KEY (node, stream, note, sender)
) WITHOUT ROWID
