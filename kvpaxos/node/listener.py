"""A listening port that can be closed and opened again."""

from __future__ import annotations

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.python.failure import Failure

from kvpaxos.errors import StartError


class Listener:
    """Listens at one endpoint, or does not, as it is told."""

    def __init__(self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self._port: IListeningPort | None = None

    def open(self) -> Deferred[None]:
        """Listen, unless that is so already.

        Fails with `StartError` if the address is taken or cannot be had.
        """
        if self._port is not None:
            return succeed(None)
        listening = self._endpoint.listen(self._factory)
        return listening.addCallbacks(self._opened, _cannot_listen)

    def close(self) -> Deferred[None]:
        """Stop listening, if that is so. The address is free when it fires."""
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        return maybeDeferred(port.stopListening).addCallback(lambda _: None)

    def _opened(self, port: IListeningPort) -> None:
        self._port = port


def _cannot_listen(failure: Failure) -> Failure:
    if failure.check(CannotListenError) is None:
        return failure
    raise StartError(
        f"cannot listen for peers: {failure.getErrorMessage()};"
        " stop what holds the address, or give this node another one"
    ) from failure.value
