"""kvpaxos: a key-value store replicated with Multi-Paxos, on Twisted."""
