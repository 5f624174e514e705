"""The command ``kvpaxos``: arguments and printing; what it shows and starts is below."""
