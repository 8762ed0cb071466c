-- The groups that a user owns (role 3), to count them without the others.
CREATE INDEX owned ON memberships (user_id) WHERE until_seq = 0 AND role = 3;
