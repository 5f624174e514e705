"""Pairs of names and parameters out of query strings and request bodies. Pure."""

from __future__ import annotations

import json
import re
from binascii import a2b_qp
from collections.abc import Generator
from email.message import Message
from typing import Final, NoReturn, TypeAlias, TypeVar, cast

from kvpaxos.errors import BadRequest

JSON_TYPE: Final = b"application/json"
MULTIPART_TYPE: Final = b"multipart/form-data"

_MIME_HEADER_BYTES_MAX: Final = 1024
"""Longer ones are refused: the library that reads them takes quadratic time."""

_NO_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
"""A ``%`` that stands for itself."""


STEP_BYTES: Final = 2 * 1024 * 1024
"""So much of a form is read at a time: the reactor has other things to do."""

T = TypeVar("T")


class Number(str):
    """A number in a JSON body, as it was written there."""

    __slots__ = ()


class Nonsense:
    """Something in a JSON body that no parameter can be: a list, an object, true or false."""

    __slots__ = ()


Given: TypeAlias = bytes | Number | Nonsense
Pairs: TypeAlias = list[tuple[str, Given]]


def at_once(steps: Generator[None, None, T]) -> T:
    """Take all ``steps``, and return what comes of them."""
    try:
        while True:
            next(steps)
    except StopIteration as ended:
        return cast("T", ended.value)


def read_body(
    content_type: bytes, body: bytes, *, parameters_max: int
) -> Generator[None, None, Pairs]:
    """Return the parameters in a request body, in order, after some steps.

    No step takes longer than a quick look at all of the body, and a thorough one at `STEP_BYTES`.

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
    return (yield from read_form(body, parameters_max=parameters_max))


def read_form(form: bytes, *, parameters_max: int) -> Generator[None, None, Pairs]:
    """Return the parameters of a query string or of an urlencoded form, after some steps.

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
    pairs: Pairs = []
    for piece in filter(None, pieces):
        raw_name, _, raw_value = piece.partition(b"=")
        name = yield from _unescape(raw_name)
        value = yield from _unescape(raw_value)
        pairs.append((name.decode(errors="replace"), value))
    return pairs


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


def _unescape(raw: bytes) -> Generator[None, None, bytes]:
    """Return ``raw`` without its escapes, after a step for each `STEP_BYTES` of it."""
    if len(raw) <= STEP_BYTES:
        return _unescaped(raw)
    parts: list[bytes] = []
    start = 0
    while start < len(raw):
        end = start + STEP_BYTES
        # No cut goes through an escape.
        last = raw.rfind(b"%", max(start, end - 2), end)
        end = end if last <= start else last
        parts.append(_unescaped(raw[start:end]))
        start = end
        yield
    return b"".join(parts)


def _unescaped(raw: bytes) -> bytes:
    """Return ``raw`` without its escapes.

    Python's own functions take them one by one, and would hold the reactor up for seconds where a
    value is long. So they are put as quoted-printable has them, which is read by one call.
    """
    text = raw.replace(b"+", b" ")
    if b"%" not in text:
        return text
    text = _NO_ESCAPE.sub(b"%25", text).replace(b"=", b"%3D")
    return a2b_qp(text.replace(b"%", b"="))


def _too_many(parameters_max: int) -> BadRequest:
    return BadRequest(f"there are more than {parameters_max} parameters")
