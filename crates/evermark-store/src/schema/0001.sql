-- What was made of which file, and what is still to do. All of it is derived: deleting this database costs time only.
-- Times are microseconds since 1970 (`_us`) or nanoseconds (`_ns`); digests are SHA-256, 32 bytes.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID, STRICT;

-- Owners and sessions are written once and meant by number: they repeat in every row.
CREATE TABLE owners (
    owner_id INTEGER PRIMARY KEY,
    app      TEXT NOT NULL,
    project  TEXT NOT NULL,
    track    TEXT NOT NULL,
    owner    TEXT NOT NULL,
    UNIQUE (app, project, track, owner)
) STRICT;

CREATE TABLE sessions (
    session_id INTEGER PRIMARY KEY,
    app        TEXT NOT NULL,
    project    TEXT NOT NULL,
    session    TEXT NOT NULL,
    UNIQUE (app, project, session)
) STRICT;

CREATE TABLE files (
    file_id          INTEGER PRIMARY KEY,
    path             TEXT NOT NULL UNIQUE,
    kind             TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('indexed', 'parked', 'ignored')),
    finding          TEXT,
    size             INTEGER NOT NULL,
    mtime_ns         INTEGER NOT NULL,
    inode            INTEGER NOT NULL,
    ctime_ns         INTEGER NOT NULL,
    digest           BLOB NOT NULL,
    indexed_at_us    INTEGER NOT NULL,
    verified_at_us   INTEGER NOT NULL,
    missing_since_us INTEGER
) STRICT;

CREATE INDEX files_missing ON files (path) WHERE missing_since_us IS NOT NULL;

CREATE TABLE entries (
    file_id  INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    owner_id INTEGER NOT NULL,
    id       TEXT NOT NULL,
    digest   BLOB NOT NULL,
    PRIMARY KEY (file_id, kind, owner_id, id)
) WITHOUT ROWID, STRICT;

CREATE INDEX entries_key ON entries (id, owner_id, kind);

-- Which messages are written down, so that one sent twice is stored once.
CREATE TABLE messages (
    session_id INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    file_id    INTEGER NOT NULL,
    PRIMARY KEY (session_id, message_id, file_id)
) WITHOUT ROWID, STRICT;

CREATE INDEX messages_file ON messages (file_id);

CREATE TABLE jobs (
    path               TEXT PRIMARY KEY,
    reason             TEXT NOT NULL,
    priority           INTEGER NOT NULL,
    fingerprint        TEXT NOT NULL,
    enqueued_at_us     INTEGER NOT NULL,
    attempts           INTEGER NOT NULL DEFAULT 0,
    next_at_us         INTEGER NOT NULL,
    lease_token        TEXT,
    lease_until_us     INTEGER,
    parked             INTEGER NOT NULL DEFAULT 0,
    first_failed_at_us INTEGER,
    error_class        TEXT,
    error              TEXT
) WITHOUT ROWID, STRICT;

CREATE INDEX jobs_due ON jobs (priority, next_at_us) WHERE lease_token IS NULL AND parked = 0;
CREATE INDEX jobs_leased ON jobs (lease_until_us) WHERE lease_token IS NOT NULL;
