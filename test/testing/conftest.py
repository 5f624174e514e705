"""What every test of the fake cluster holds to: no error goes into the log unseen."""

from test.logged import logged

__all__ = ["logged"]
