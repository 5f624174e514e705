"""The HTTP face: requests become operations of the store, its answers become JSON."""
