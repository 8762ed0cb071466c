"""How fast a tidings server is: it runs as its own process, and so does the client that loads it."""
