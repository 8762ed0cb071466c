-- How many channels a user is in, and how many groups the user owns (role 3). They are counted as memberships change, not
-- each time that somebody asks. What says that a channel is active changes neither.
CREATE TABLE channel_counts (
    user_id TEXT PRIMARY KEY,
    channels INTEGER NOT NULL,
    owned INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO channel_counts SELECT user_id, count(*), sum(role = 3) FROM memberships WHERE until_seq = 0 GROUP BY user_id;
CREATE TRIGGER membership_added AFTER INSERT ON memberships WHEN new.until_seq = 0 BEGIN
    INSERT INTO channel_counts VALUES (new.user_id, 1, new.role = 3)
    ON CONFLICT (user_id) DO UPDATE SET channels = channels + 1, owned = owned + excluded.owned;
END;
CREATE TRIGGER membership_changed AFTER UPDATE OF until_seq, role ON memberships BEGIN
    UPDATE channel_counts SET
        channels = channels + (new.until_seq = 0) - (old.until_seq = 0),
        owned = owned + (new.until_seq = 0 AND new.role = 3) - (old.until_seq = 0 AND old.role = 3)
    WHERE user_id = new.user_id;
END;
