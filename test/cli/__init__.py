"""Tests of kvpaxos.cli."""
