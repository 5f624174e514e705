"""Bugs that others have had, or that the design guards against, for the simulator to find."""
