"""The durable log of promises and votes: files and blocking calls, no Twisted."""
