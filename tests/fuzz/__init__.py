"""Hostile inputs against a real server, while two people talk who must not notice."""
