"""Endpoints out of strings, with what Twisted leaves open for UNIX sockets."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from kvpaxos.config.endpoints import EndpointError, Unix, endpoint
from kvpaxos.errors import ConfigError, StartError


def listening_endpoint(reactor: Any, description: str) -> IStreamServerEndpoint:  # noqa: ANN401 -- reactors provide what endpoints of this kind need
    """Return the endpoint that ``description``, such as ``unix:run/n01.sock``, names.

    :raises ConfigError: if it names none.
    """
    try:
        address = endpoint(description)
        if not isinstance(address, Unix):
            return cast(IStreamServerEndpoint, serverFromString(reactor, description))
        # Twisted's lock files name a process id, which may be another process's by now;
        # asking the socket itself whether anybody listens needs none.
        unlocked = description if "lockfile=" in description else f"{description}:lockfile=0"
        return SocketFileEndpoint(serverFromString(reactor, unlocked), address.path)
    except EndpointError as error:
        raise ConfigError(f'"{description}" is an endpoint {error}') from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f'"{description}" is no endpoint to listen on: {error}') from error


def dialing_endpoint(reactor: Any, description: str) -> IStreamClientEndpoint:  # noqa: ANN401 -- as above
    """Return the endpoint that ``description``, such as ``tcp:host=10.0.0.2:port=7701``, names.

    :raises ConfigError: if it names none.
    """
    try:
        return cast(IStreamClientEndpoint, clientFromString(reactor, description))
    except (ValueError, TypeError) as error:
        raise ConfigError(f'"{description}" is no endpoint to dial: {error}') from error


@implementer(IStreamServerEndpoint)
class SocketFileEndpoint:
    """A UNIX socket whose file may be left over from a process that was killed."""

    def __init__(self, inner: IStreamServerEndpoint, path: str) -> None:
        self._inner = inner
        self._path = path

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:  # noqa: N803 -- Twisted names it
        """Listen. Fails with `StartError` if another process does."""
        cleared: Deferred[None] = execute(remove_stale_socket, self._path)
        return cleared.addCallback(lambda _: self._inner.listen(protocolFactory))


def remove_stale_socket(path: str) -> None:
    """Remove the socket file at ``path`` if nobody listens on it.

    :raises StartError: if somebody does, or if ``path`` is no socket.
    """
    if is_stale_socket(path):
        Path(path).unlink(missing_ok=True)


def is_stale_socket(path: str) -> bool:
    """Whether a process that is gone left a socket file at ``path``; False if none is there.

    :raises StartError: if somebody listens on it, or if ``path`` is no socket.
    """
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(mode):
        raise StartError(f"{path} is in the way of a socket, and is none: move it elsewhere")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A full queue of callers shows somebody is alive there, too.
        probe.settimeout(0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except BlockingIOError:
            pass
        except OSError as error:
            raise StartError(f"{path} cannot be listened on: {error.strerror}") from error
    raise StartError(
        f"another process listens on {path} already: stop it, or give this node another path"
    )
