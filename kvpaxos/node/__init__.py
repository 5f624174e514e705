"""The Twisted shells around the core: they carry things and decide nothing."""
