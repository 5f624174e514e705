"""The simulator that ships with kvpaxos: its own parts, and a few of its worlds."""
