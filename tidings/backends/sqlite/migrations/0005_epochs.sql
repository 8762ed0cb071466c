-- How many refresh tokens a device has been given; 0 for one that has had none since this was counted. Its access tokens
-- carry the number.
ALTER TABLE devices ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;

-- Devices that were signed out, with the epoch up to which their access tokens must not work, until a server has run for
-- longer than such a token can work. A row stays when its device comes back.
CREATE TABLE revocations (
    device_id TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO revocations SELECT device_id, 0 FROM devices WHERE NOT signed_in;
DROP INDEX devices_revoked;
ALTER TABLE devices DROP COLUMN revoked_at_ms;
