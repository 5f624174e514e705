"""A cluster in memory, for tests of programs that use kvpaxos. See docs/client.md."""

from kvpaxos.testing.cluster import FakeCluster

__all__ = ["FakeCluster"]
