"""The mesh of chat servers: which of them sequences a channel, and the streams between them."""
