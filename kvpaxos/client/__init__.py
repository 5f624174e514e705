"""Clients of a cluster: one for Twisted, and one that blocks. See docs/client.md.

Everything that callers need is here, but for the errors: they are in `kvpaxos.errors`.
"""

from kvpaxos.client.blocking import BlockingClient
from kvpaxos.client.client import Client
from kvpaxos.client.dump import Dump
from kvpaxos.client.results import Answer, Receipt

__all__ = ["Answer", "BlockingClient", "Client", "Dump", "Receipt"]
