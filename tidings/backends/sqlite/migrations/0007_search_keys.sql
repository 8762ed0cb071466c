-- What searches compare instead of a display name, without case and accents. search_key() is given by the program.
ALTER TABLE users ADD COLUMN search_key TEXT NOT NULL DEFAULT '';
UPDATE users SET search_key = search_key(display_name);
DROP INDEX users_by_display_name;
ALTER TABLE users DROP COLUMN display_name_lower;

-- Users by the first 1 to 12 characters of username and search_key: a page of those found is one stretch of the tree,
-- by username, however many share the beginning.
CREATE TABLE name_prefixes (
    prefix TEXT NOT NULL,
    username TEXT NOT NULL,
    PRIMARY KEY (prefix, username)
) WITHOUT ROWID;
WITH RECURSIVE lengths (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM lengths WHERE n < 12)
INSERT OR IGNORE INTO name_prefixes
SELECT substr(name, 1, n), username
FROM (SELECT username, username AS name FROM users UNION ALL SELECT username, search_key FROM users), lengths
WHERE n <= length(name);
