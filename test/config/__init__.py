"""Tests of kvpaxos.config."""
