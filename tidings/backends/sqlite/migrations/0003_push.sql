CREATE TABLE push_tokens (
    device_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    provider INTEGER NOT NULL,
    token TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX push_tokens_of_user ON push_tokens (user_id);

-- One row for each push to one device. An id is never used again: whoever finishes a push late must not finish another.
CREATE TABLE push_queue (
    push_id INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id TEXT NOT NULL,
    provider INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    sender_id TEXT NOT NULL,
    preview TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    queued_at_ms INTEGER NOT NULL,
    -- While the push is under way (claimed is 1): when its lease is over.
    due_at_ms INTEGER NOT NULL,
    claimed INTEGER NOT NULL,
    attempts INTEGER NOT NULL
);
CREATE INDEX push_queue_by_due ON push_queue (provider, due_at_ms, push_id);
CREATE INDEX push_queue_by_channel ON push_queue (device_id, channel_id, push_id);
CREATE INDEX push_queue_by_age ON push_queue (queued_at_ms);

CREATE TABLE push_dead_letters (
    push_id INTEGER PRIMARY KEY,
    device_id TEXT NOT NULL,
    provider INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    sender_id TEXT NOT NULL,
    preview TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    died_at_ms INTEGER NOT NULL,
    UNIQUE (device_id, channel_id)
);
CREATE INDEX push_dead_letters_by_time ON push_dead_letters (died_at_ms, push_id);
