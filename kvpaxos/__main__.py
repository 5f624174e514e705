"""``python -m kvpaxos`` is the command ``kvpaxos``, also from a checkout that is not installed."""

from kvpaxos.cli.main import main

main(prog_name="kvpaxos")
