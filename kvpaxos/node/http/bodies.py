"""Pairs of names and parameters out of query strings and request bodies. Pure."""

from __future__ import annotations

import json
import re
from email.message import Message
from typing import Final, NoReturn, TypeAlias

from kvpaxos.errors import BadRequest

JSON_TYPE: Final = b"application/json"
MULTIPART_TYPE: Final = b"multipart/form-data"

_MIME_HEADER_BYTES_MAX: Final = 1024
"""Longer ones are refused: the library that reads them takes quadratic time."""

_ESCAPES: Final = re.compile(rb"(?:%[0-9A-Fa-f]{2})+")


class Number(str):
    """A number in a JSON body, as it was written there."""

    __slots__ = ()


class Nonsense:
    """Something in a JSON body that no parameter can be: a list, an object, true or false."""

    __slots__ = ()


Given: TypeAlias = bytes | Number | Nonsense
Pairs: TypeAlias = list[tuple[str, Given]]


def read_body(content_type: bytes, body: bytes, *, parameters_max: int) -> Pairs:
    """Return the parameters in a request body, in order.

    Many clients send a form and name no type, or a wrong one. So a body is read as a form
    unless both its type and its first bytes say that it is something else.

    :raises BadRequest: the body is neither, or has too many parameters.
    """
    kind, _, details = content_type.partition(b";")
    kind = kind.strip().lower()
    if kind == JSON_TYPE and (body.lstrip().startswith(b"{") or b"=" not in body):
        return read_json(body, parameters_max=parameters_max)
    if kind == MULTIPART_TYPE:
        boundary = _boundary(details)
        if boundary and body.lstrip(b"\r\n").startswith(b"--" + boundary):
            return read_multipart(body, boundary, parameters_max=parameters_max)
    if body.startswith(b"{"):
        raise BadRequest("the body looks like JSON but its Content-Type is not application/json")
    return read_form(body, parameters_max=parameters_max)


def read_form(form: bytes, *, parameters_max: int) -> Pairs:
    """Return the parameters of a query string or of an urlencoded form.

    As in the URL standard: ``&`` separates (``;`` does not), ``+`` is a blank, a name without
    ``=`` has the empty value, and a ``%`` without two hexadecimal digits stands for itself.
    The bytes behind the escapes are taken as they are, UTF-8 or not.
    """
    if not form:
        return []
    # One split too many is enough to know: a long body of separators must
    # not become a long list.
    pieces = form.split(b"&", parameters_max)
    if len(pieces) > parameters_max:
        raise _too_many(parameters_max)
    return [
        (_unescape(name).decode(errors="replace"), _unescape(value))
        for name, _, value in (piece.partition(b"=") for piece in pieces if piece)
    ]


def read_json(body: bytes, *, parameters_max: int) -> Pairs:
    """Return the members of a JSON object; those that are null count as not given.

    :raises BadRequest: the body is no JSON object, is not UTF-8, or holds half a character.
    """
    try:
        members = _decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not a JSON object: {error}"[:200]) from None
    if not isinstance(members, _Members):
        raise BadRequest("the body is JSON, but not an object")
    if len(members) > parameters_max:
        raise _too_many(parameters_max)
    return [(name, _given(name, value)) for name, value in members if value is not None]


def read_multipart(body: bytes, boundary: bytes, *, parameters_max: int) -> Pairs:
    """Return the fields of a ``multipart/form-data`` body; a file is a field like any other.

    :raises BadRequest: a part is cut off, or does not say which field it is.
    """
    delimiter = b"\r\n--" + boundary
    pieces = (b"\r\n" + body).split(delimiter, parameters_max + 2)
    if len(pieces) > parameters_max + 2:
        raise _too_many(parameters_max)
    if not pieces[-1].startswith(b"--"):
        raise BadRequest("the multipart body has no end")
    return [_field(piece) for piece in pieces[1:-1]]


class _Members(list[tuple[str, object]]):
    """The members of a JSON object, in order, repeated names and all."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Numbers stay text: the digits of a huge one must cost nothing.
_decode: Final = json.JSONDecoder(
    object_pairs_hook=_Members,
    parse_int=Number,
    parse_float=Number,
    parse_constant=_refuse_constant,
).decode


def _given(name: str, value: object) -> Given:
    match value:
        case Number():
            return value
        case str():
            try:
                return value.encode()
            except UnicodeEncodeError:
                raise BadRequest(f"{name[:40]} holds half of a surrogate pair") from None
        case _:
            return Nonsense()


def _field(piece: bytes) -> tuple[str, bytes]:
    """Return the name and the content of one part of a multipart body."""
    head, blank_line, content = piece.partition(b"\r\n\r\n")
    # A part may end with its head: then it has no content, and no blank line before that.
    ended = blank_line or head.endswith(b"\r\n")
    if not ended or len(head) > _MIME_HEADER_BYTES_MAX:
        raise BadRequest("a part of the multipart body has no end of its head")
    for line in head.split(b"\r\n"):
        header, _, value = line.partition(b":")
        if header.strip().lower() == b"content-disposition":
            name = _parameter("Content-Disposition", value, "name")
            if name:
                return name, content
    raise BadRequest("a part of the multipart body has no name")


def _boundary(details: bytes) -> bytes:
    if len(details) > _MIME_HEADER_BYTES_MAX:
        return b""
    header = MULTIPART_TYPE + b";" + details
    return _parameter("Content-Type", header, "boundary").encode(errors="replace")


def _parameter(header: str, value: bytes, name: str) -> str:
    """Return one parameter of a MIME header, or the empty string."""
    message = Message()
    message[header] = value.decode(errors="replace").strip()
    found = message.get_param(name, "", header=header)
    return found if isinstance(found, str) else found[2]


def _unescape(raw: bytes) -> bytes:
    # By runs of escapes: one by one, a long value would hold the reactor up for seconds.
    return _ESCAPES.sub(_unescape_run, raw.replace(b"+", b" "))


def _unescape_run(run: re.Match[bytes]) -> bytes:
    return bytes.fromhex(run[0].replace(b"%", b"").decode())


def _too_many(parameters_max: int) -> BadRequest:
    return BadRequest(f"there are more than {parameters_max} parameters")
