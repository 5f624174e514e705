"""Keeps pytest away from what runs on trial's reactor, and not on pytest-twisted's."""

collect_ignore = ["test_paxos.py", "test_kvpaxos.py"]
