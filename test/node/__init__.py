"""Tests of kvpaxos.node."""
