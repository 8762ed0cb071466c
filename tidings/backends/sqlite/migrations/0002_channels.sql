CREATE TABLE channels (
    channel_id TEXT PRIMARY KEY,
    kind INTEGER NOT NULL,
    title TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- A person may come and go: one row for each stay. until_seq is 0 for those who are in.
CREATE TABLE memberships (
    channel_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    since_seq INTEGER NOT NULL,
    until_seq INTEGER NOT NULL,
    role INTEGER NOT NULL,
    joined_at_ms INTEGER NOT NULL,
    PRIMARY KEY (channel_id, user_id, since_seq)
) WITHOUT ROWID;
CREATE INDEX memberships_of_user ON memberships (user_id, channel_id, since_seq, until_seq);

-- The log. Clustered by channel and seq: a page of history is one stretch of the tree.
CREATE TABLE entries (
    channel_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    position INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    author_id TEXT NOT NULL,
    client_message_id TEXT NOT NULL,
    target_seq INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (channel_id, seq)
) WITHOUT ROWID;
CREATE INDEX entries_by_target ON entries (channel_id, target_seq, seq) WHERE target_seq > 0;

-- What makes a message once: its name by its author.
CREATE TABLE sent (
    channel_id TEXT NOT NULL,
    author_id TEXT NOT NULL,
    client_message_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (channel_id, author_id, client_message_id)
) WITHOUT ROWID;

-- Receipts, all of a channel's in one row (an encoded tidings.v1.Receipt): they change together and are read together.
CREATE TABLE receipts (
    channel_id TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    marks BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE mutes (
    channel_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (channel_id, user_id)
) WITHOUT ROWID;

-- Channels with entries for which no push has been decided, from next_seq on.
CREATE TABLE pending_push (
    channel_id TEXT PRIMARY KEY,
    next_seq INTEGER NOT NULL
) WITHOUT ROWID;

-- The highest position written, so that positions grow even when the clock is set back between two runs.
CREATE TABLE high_water (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL
);
INSERT INTO high_water VALUES (1, 0);
