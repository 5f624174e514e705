"""``kvpaxos get`` and the other commands that ask for one key, and ``kvpaxos count``."""

from __future__ import annotations

from typing import Final

import click

from kvpaxos.cli.arguments import Asked, Bytes, Identifier, asks, read_value
from kvpaxos.cli.command import Command
from kvpaxos.errors import ConfigError

_REFUSED: Final = {2: "the arguments or settings are wrong, or a key or a value is over its limit"}
_READ: Final = {**_REFUSED, 3: "no node could tell"}
_WRITE: Final = {
    **_REFUSED,
    3: "nothing was changed, and will not be: no node could carry it out",
    4: "it may or may not be carried out",
}

_KEY: Final = click.argument("key", type=Bytes())
_VALUE: Final = click.argument("value", type=Bytes())
_ID: Final = click.option(
    "--id",
    "requestid",
    type=Identifier(),
    metavar="TEXT",
    help="A name for this request: sent again under it, it is not carried out again.",
)


@click.command(
    cls=Command,
    statuses={0: "the value was printed", 1: "there is no such key", **_READ},
    examples=[
        "kvpaxos get color",
        "kvpaxos get photo > photo.jpg",
        "kvpaxos get color --json | jq -r .value",
    ],
)
@asks()
@_KEY
@click.option("--stale", is_flag=True, help="Take what one node knows, be it old, at once.")
def get(asked: Asked, key: bytes, *, stale: bool) -> None:
    """Print the value of KEY.

    The read is linearizable, whichever node answers it. A terminal is shown the value as text;
    a file or a pipe gets its very bytes.
    """
    # Not at the top, here and below: help and completion must not wait for it.
    from kvpaxos.cli.calls import show_value  # noqa: PLC0415

    show_value(asked, key, stale=stale)


@click.command(
    cls=Command,
    statuses={0: "it is stored", 1: "the key exists", **_WRITE},
    examples=["kvpaxos insert color blue", "kvpaxos insert photo - < photo.jpg"],
)
@asks()
@_KEY
@_VALUE
@_ID
def insert(asked: Asked, key: bytes, value: bytes, requestid: str | None) -> None:
    """Store VALUE under a new KEY.

    A VALUE of "-" is read from standard input, byte by byte as it is.
    """
    _write(asked, "insert", key, read_value(value), requestid)


@click.command(
    cls=Command,
    statuses={0: "it is stored", **_WRITE},
    examples=[
        "kvpaxos set color blue",
        "kvpaxos set photo - < photo.jpg",
        "kvpaxos set -- temperature -5",
    ],
)
@asks()
@_KEY
@_VALUE
@_ID
def set_(asked: Asked, key: bytes, value: bytes, requestid: str | None) -> None:
    """Store VALUE under KEY, be it new or not.

    A VALUE of "-" is read from standard input, byte by byte as it is.
    """
    _write(asked, "set", key, read_value(value), requestid)


@click.command(
    cls=Command,
    statuses={0: "it is stored, and the old value was printed", 1: "no such key", **_WRITE},
    examples=["kvpaxos update color green", "kvpaxos update photo - < photo.jpg > old.jpg"],
)
@asks()
@_KEY
@_VALUE
@_ID
def update(asked: Asked, key: bytes, value: bytes, requestid: str | None) -> None:
    """Replace the value of KEY, and print the old one.

    A VALUE of "-" is read from standard input, byte by byte as it is.
    """
    _write(asked, "update", key, read_value(value), requestid)


@click.command(
    cls=Command,
    statuses={0: "it is gone, and its value was printed", 1: "there is no such key", **_WRITE},
    examples=["kvpaxos delete color"],
)
@asks()
@_KEY
@_ID
def delete(asked: Asked, key: bytes, requestid: str | None) -> None:
    """Remove KEY, and print its value."""
    _write(asked, "delete", key, None, requestid)


@click.command(
    cls=Command,
    statuses={0: "it is done, and the new value was printed", **_WRITE},
    examples=["kvpaxos append log 'one more line'", "kvpaxos append log - < lines.txt"],
)
@asks()
@_KEY
@_VALUE
@_ID
def append(asked: Asked, key: bytes, value: bytes, requestid: str | None) -> None:
    """Add VALUE to what KEY holds, and print what it holds now.

    A KEY that is not there is created. A VALUE of "-" is read from standard input, byte by byte as
    it is.
    """
    _write(asked, "append", key, read_value(value), requestid)


@click.command(
    cls=Command,
    statuses={0: "it is stored", 1: "the key holds another value, or none", **_WRITE},
    examples=[
        "kvpaxos cas color blue --expect green",
        "kvpaxos cas lock mine --absent",
    ],
)
@asks()
@_KEY
@_VALUE
@click.option("--expect", type=Bytes(), metavar="VALUE", help="What the key must hold now.")
@click.option("--absent", is_flag=True, help="The key must not be there now.")
@_ID
def cas(
    asked: Asked,
    key: bytes,
    value: bytes,
    expect: bytes | None,
    *,
    absent: bool,
    requestid: str | None,
) -> None:
    """Store VALUE if KEY holds what is expected.

    It is compared and set in one step, whatever others do meanwhile. A VALUE of "-" is read from
    standard input, byte by byte as it is.
    """
    if absent == (expect is not None):
        raise ConfigError(
            "Say what the key must hold, with --expect VALUE or with --absent, and not with both."
        )
    from kvpaxos.cli.calls import compare_and_set  # noqa: PLC0415

    compare_and_set(asked, key, expect, read_value(value), requestid)


@click.command(
    cls=Command,
    statuses={0: "the number was printed", **_READ},
    examples=["kvpaxos count"],
)
@asks()
def count(asked: Asked) -> None:
    """Print how many keys there are."""
    from kvpaxos.cli.calls import show_count  # noqa: PLC0415

    show_count(asked)


def _write(asked: Asked, verb: str, key: bytes, value: bytes | None, requestid: str | None) -> None:
    from kvpaxos.cli.calls import write  # noqa: PLC0415

    write(asked, verb, key, value, requestid)
