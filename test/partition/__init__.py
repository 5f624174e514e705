"""Partitions over UNIX sockets. To be run with ``trial test.partition``; pytest skips them."""
