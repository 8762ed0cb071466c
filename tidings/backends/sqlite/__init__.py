"""The ports on one SQLite database in a data folder."""
