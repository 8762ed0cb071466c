-- About where a channel's log ends: at this position, or at most a second later (`ACTIVE_WITHIN`). So it need not be
-- written with every message. Where a stay is over it is beyond the last entry that its user sees.
ALTER TABLE memberships ADD COLUMN active INTEGER NOT NULL DEFAULT 0;
UPDATE memberships SET active = coalesce((
    SELECT max(position) FROM (
        SELECT position FROM entries e
        WHERE e.channel_id = memberships.channel_id AND e.seq <= iif(until_seq, until_seq, 9223372036854775807)
        ORDER BY seq DESC LIMIT 1
    )
), 0);
DROP INDEX channels_of_user;
CREATE INDEX channels_of_user ON memberships (user_id, active, channel_id) WHERE until_seq = 0;
CREATE INDEX past_stays_of_user ON memberships (user_id, active) WHERE until_seq > 0;
