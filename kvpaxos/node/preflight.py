"""What can be known before a node starts: whether its places are free and its directory usable.

A daemon has nobody to tell its troubles to once it is one. So what mostly goes wrong is tried
beforehand, and said in one sentence.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from kvpaxos.config.cluster import NodeConfig
from kvpaxos.config.endpoints import Other, Tcp, Unix, endpoint
from kvpaxos.errors import StartError
from kvpaxos.node.addresses import is_stale_socket


def check_places(node: NodeConfig) -> None:
    """Try to take the endpoints of ``node``, and let go of them again.

    :raises StartError: if one is taken, or cannot be had on this machine.
    """
    for face, text in (("http", node.http), ("peer", node.peer)):
        match endpoint(text):
            case Tcp(host, port):
                _check_port(f"{node.node} cannot serve", face, host, port)
            case Unix(path):
                _check_socket(f"{node.node} cannot serve", face, path)
            case Other():
                # Only its own plugin knows what this is; it will speak for itself.
                pass


def check_directory(node: NodeConfig) -> None:
    """See whether the data directory of ``node`` is there, or can be made, and can be written.

    It is not made here: by the time the node does so it may have become another user.

    :raises StartError: if not.
    """
    path = Path(node.data)
    trouble = f"{node.node} cannot keep its data in {path}: "
    mend = "; choose another directory."
    for place in (path, *path.absolute().parents):
        try:
            if not place.exists():
                continue
        except OSError as error:
            raise StartError(f"{trouble}{error.strerror}{mend}") from None
        if not place.is_dir():
            raise StartError(f"{trouble}{place} is a file{mend}")
        if not os.access(place, os.W_OK | os.X_OK):
            raise StartError(f"{trouble}{place} cannot be written by this user{mend}")
        return


def _check_port(who: str, face: str, host: str, port: int) -> None:
    where = f"port {port} of {host or 'every address'}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the node itself will do: what a killed one left behind does not stop it.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror:
        raise StartError(
            f"{who} {face}: the host name {host} is unknown here; correct it in the settings."
        ) from None
    except OSError as error:
        raise StartError(f"{who} {face}: {_reason(error, where, host)}.") from None


def _reason(error: OSError, where: str, host: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where} is taken by another process; stop that one, or choose another port"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine; correct it in the settings"
        case errno.EACCES:
            return f"{where} may not be opened by this user; choose one above 1023"
        case _:
            return f"{where}: {error.strerror}"


def _check_socket(who: str, face: str, path: str) -> None:
    directory = Path(path).parent
    if not directory.is_dir():
        raise StartError(f"{who} {face}: there is no directory {directory}; make it first.")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StartError(f"{who} {face}: this user cannot write to {directory}; choose another.")
    try:
        is_stale_socket(path)
    except StartError as error:
        raise StartError(f"{who} {face}: {error}.") from None
