-- gone is 1 where the text has left the log: of a deleted message, and of an edit after which it was edited again or
-- deleted.
ALTER TABLE entries ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
UPDATE entries SET gone = 1
WHERE kind IN (1, 2) AND EXISTS (
    SELECT 1 FROM entries d INDEXED BY entries_by_target
    WHERE d.channel_id = entries.channel_id AND d.target_seq = iif(entries.kind = 1, entries.seq, entries.target_seq)
        AND d.target_seq > 0 AND d.kind = 3
);

-- A query that takes `target_seq > 0` for the bound of the index that it replaces read all changes of a channel.
DROP INDEX entries_by_target;
CREATE INDEX changes ON entries (channel_id, target_seq, gone, seq, kind) WHERE kind IN (2, 3);

-- Messages without what changed them: for pages of history, and for counting those that are unread.
CREATE INDEX messages ON entries (channel_id, gone, seq, author_id, kind) WHERE kind = 1;

-- Those who are in, without all the stays that are over.
CREATE INDEX members ON memberships (channel_id, since_seq, role DESC, user_id) WHERE until_seq = 0;
CREATE INDEX channels_of_user ON memberships (user_id, channel_id) WHERE until_seq = 0;
