-- How many contacts and blocks a user has. They are counted as they change, not each time that one is added.
CREATE TABLE relation_counts (
    user_id TEXT PRIMARY KEY,
    contacts INTEGER NOT NULL,
    blocks INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO relation_counts
SELECT user_id, sum(contacts), sum(blocks) FROM (
    SELECT user_id, 1 AS contacts, 0 AS blocks FROM contacts UNION ALL SELECT user_id, 0, 1 FROM blocks
) GROUP BY user_id;
CREATE TRIGGER contact_added AFTER INSERT ON contacts BEGIN
    INSERT INTO relation_counts VALUES (new.user_id, 1, 0) ON CONFLICT (user_id) DO UPDATE SET contacts = contacts + 1;
END;
CREATE TRIGGER contact_removed AFTER DELETE ON contacts BEGIN
    UPDATE relation_counts SET contacts = contacts - 1 WHERE user_id = old.user_id;
END;
CREATE TRIGGER block_added AFTER INSERT ON blocks BEGIN
    INSERT INTO relation_counts VALUES (new.user_id, 0, 1) ON CONFLICT (user_id) DO UPDATE SET blocks = blocks + 1;
END;
CREATE TRIGGER block_removed AFTER DELETE ON blocks BEGIN
    UPDATE relation_counts SET blocks = blocks - 1 WHERE user_id = old.user_id;
END;
