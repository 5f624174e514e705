r"""Endpoint strings, such as ``tcp:7701:interface=127.0.0.1`` and ``unix:run/n01.sock``.

The little language is Twisted's: fields divided by ``:``, names by ``=``, both escaped by ``\``.
Only what the settings must know of it is read here, so that settings need no reactor.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

PORT_MAX: Final = 65535
"""The highest TCP port."""

UNIX_PATH_BYTES_MAX: Final = 107
"""The longest path that a UNIX socket can have on Linux, in bytes without its closing NUL."""

EVERY_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 -- named here to be told apart
"""Interfaces that mean: all addresses of the machine."""

_OPTIONS: Final = {
    "tcp": ("port", "interface", "backlog"),
    "unix": ("address", "mode", "backlog", "lockfile"),
}


class EndpointError(ValueError):
    """A string is no endpoint. The message is a relative clause about the string: "which …"."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP port; ``host`` is empty if the port is open on every address of the machine."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Unix:
    """A UNIX socket."""

    path: str


@dataclass(frozen=True, slots=True)
class Other:
    """A kind of endpoint that only a Twisted plugin knows, such as ``tls:``."""

    kind: str


def tcp(host: str, port: int) -> str:
    """Return the string of the endpoint that listens on ``port`` of ``host`` only."""
    return f"tcp:{port}:interface={_escaped(host)}"


def unix(path: str) -> str:
    """Return the string of the endpoint that listens on the UNIX socket ``path``."""
    return f"unix:{_escaped(path)}"


def endpoint(text: str) -> Tcp | Unix | Other:
    """Read the string of a listening endpoint.

    :raises EndpointError: if it is none, names an impossible port or has unknown fields.
    """
    if "\n" in text or text != text.strip():
        raise EndpointError("which has blanks around it or spans lines")
    kind, *rest = _fields(text)
    match kind:
        case (None, "tcp"):
            options = _options("tcp", rest)
            port = port_number(options.get("port", ""))
            return Tcp(canonical_host(options.get("interface", "")), port)
        case (None, "unix"):
            return Unix(_socket_path(_options("unix", rest).get("address", "")))
        case (None, str(name)) if name.isidentifier() and rest:
            return Other(name)
        case _:
            raise EndpointError('which is no endpoint such as "tcp:7701:interface=127.0.0.1"')


def dial(listening: str) -> str | None:
    """Return the client endpoint that reaches ``listening``, if the string alone tells."""
    match endpoint(listening):
        case Tcp(host, port) if host not in EVERY_ADDRESS:
            return f"tcp:host={_escaped(host)}:port={port}"
        case Unix(path):
            return f"unix:path={_escaped(path)}"
        case _:
            return None


def dialed_host(client: str) -> str | None:
    """Return the host that the client endpoint ``client`` names, if it names one."""
    positional = [value for name, value in _fields(client)[1:] if name is None]
    named = {name: value for name, value in _fields(client)[1:] if name is not None}
    if _fields(client)[0][1] == "unix":
        return None
    return named.get("host") or (positional[0] if positional else None)


def port_number(text: str) -> int:
    """Return the port that ``text`` names.

    :raises EndpointError: if it is no number from 1 to 65535.
    """
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= PORT_MAX:
        return int(text)
    raise EndpointError(f"whose port is no number from 1 to {PORT_MAX}")


def canonical_host(host: str) -> str:
    """Return ``host`` in the one form in which equal addresses are equal strings.

    :raises EndpointError: if it is neither an IP address nor a host name.
    """
    try:
        return "" if host in EVERY_ADDRESS else str(ipaddress.ip_address(host))
    except ValueError:
        pass
    labels = host.rstrip(".").split(".")
    # Names whose last label is a number are addresses gone wrong, such as 127.0.0.300.
    if all(map(_is_label, labels)) and not labels[-1].isdigit() and len(host) < 254:  # noqa: PLR2004 -- RFC 1035
        return host.lower()
    raise EndpointError("whose address is neither an IP address nor a host name")


def url_host(host: str) -> str:
    """Return ``host`` as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _is_label(label: str) -> bool:
    plain = label.replace("-", "a").replace("_", "a")
    return plain.isascii() and plain.isalnum() and not label.startswith("-") and len(label) < 64  # noqa: PLR2004 -- RFC 1035


def _socket_path(path: str) -> str:
    if not path:
        raise EndpointError("which names no path")
    if len(path.encode()) > UNIX_PATH_BYTES_MAX:
        raise EndpointError(
            f"which has a path of {len(path.encode())} bytes, and a UNIX socket's can have"
            f" {UNIX_PATH_BYTES_MAX}"
        )
    return path


def _options(kind: str, fields: list[tuple[str | None, str]]) -> dict[str, str]:
    """Name the positional ``fields`` of a ``kind`` of endpoint, as Twisted would."""
    names = _OPTIONS[kind]
    positional = [value for name, value in fields if name is None]
    if len(positional) > len(names):
        raise EndpointError(f"which has too many fields (a colon in a field is written {chr(92)}:)")
    options = dict(zip(names, positional, strict=False))
    for name, value in fields:
        if name is None:
            continue
        if name not in names or name in options:
            raise EndpointError(f"which has a field {name!r} that it cannot have, or has it twice")
        options[name] = value
    return options


def _fields(text: str) -> list[tuple[str | None, str]]:
    """Divide ``text`` into (name or None, value), minding the escapes."""
    fields: list[tuple[str | None, str]] = []
    name: str | None = None
    value = ""
    characters = iter(text)
    for character in characters:
        match character:
            case ":":
                fields.append((name, value))
                name, value = None, ""
            case "=" if name is None:
                name, value = value, ""
            case "\\":
                value += next(characters, "")
            case _:
                value += character
    return [*fields, (name, value)]


def _escaped(field: str) -> str:
    return field.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")
