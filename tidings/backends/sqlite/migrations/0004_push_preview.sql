-- What a device wants its pushes to show; 3 is everything.
ALTER TABLE push_tokens ADD COLUMN preview INTEGER NOT NULL DEFAULT 3;
