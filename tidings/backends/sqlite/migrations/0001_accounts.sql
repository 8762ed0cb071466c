-- display_name_lower is what searches compare.
CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    display_name_lower TEXT NOT NULL,
    about TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX users_by_display_name ON users (display_name_lower, username);

-- A device that is signed out stays known, so that it can come back under its id. revoked_at_ms is when it was signed
-- out last (0 for never) and stays when it comes back: its access tokens from before must not work even then.
CREATE TABLE devices (
    device_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (user_id),
    device_name TEXT NOT NULL,
    platform INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    last_active_at_ms INTEGER NOT NULL,
    signed_in INTEGER NOT NULL,
    revoked_at_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX devices_of_user ON devices (user_id, signed_in);
CREATE INDEX devices_revoked ON devices (revoked_at_ms) WHERE revoked_at_ms > 0;

-- A device has one token that works (spent_at_ms 0); those spent are kept to know them when they come again.
CREATE TABLE refresh_tokens (
    token_hash BLOB PRIMARY KEY,
    device_id TEXT NOT NULL REFERENCES devices (device_id),
    spent_at_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX refresh_tokens_of_device ON refresh_tokens (device_id, spent_at_ms);

CREATE TABLE contacts (
    user_id TEXT NOT NULL,
    contact_id TEXT NOT NULL,
    added_at_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, contact_id)
) WITHOUT ROWID;
CREATE INDEX contacts_of_contact ON contacts (contact_id, user_id);

CREATE TABLE blocks (
    user_id TEXT NOT NULL,
    blocked_id TEXT NOT NULL,
    blocked_at_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, blocked_id)
) WITHOUT ROWID;
CREATE INDEX blocks_of_blocked ON blocks (blocked_id, user_id);
