"""The api server: accounts, contacts, channels, history and push tokens, as single calls."""
