"""What the commands that ask a cluster for its keys take."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import click
from typing_extensions import override

from kvpaxos.cli.nodes import node_options
from kvpaxos.config.cluster import LIMIT_RANGES
from kvpaxos.errors import TooLarge
from kvpaxos.store.limits import IDENTIFIER_BYTES_MAX

TIMEOUT_S: Final = 5.0
"""How long a request may take, unless said otherwise."""

TIMEOUT_S_MAX: Final = 3600.0
"""Nobody waits longer for one answer."""

VALUE_BYTES_MAX: Final = LIMIT_RANGES["value_bytes_max"][1]
"""No cluster takes a longer value."""

STDIN: Final = b"-"
"""Stands for standard input, or standard output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whom to ask, for how long, and how to tell the answer.

    :ivar nodes: addresses, if they are named on the command line.
    :ivar settings: the settings file, if one is named.
    :ivar as_json: tell it to programs.
    """

    nodes: Sequence[str]
    settings: str | None
    timeout_s: float
    as_json: bool


class Seconds(click.ParamType[float]):
    """A span of time, up to an hour."""

    name = "seconds"

    @override
    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0.0 < seconds <= TIMEOUT_S_MAX:
            self.fail(
                f'"{value}" is no time: give a number of seconds above 0 and at most'
                f" {TIMEOUT_S_MAX:g}.",
                param,
                ctx,
            )
        return seconds


class Bytes(click.ParamType[bytes]):
    """The very bytes that stand on the command line, be they text or not."""

    name = "bytes"

    @override
    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> bytes:
        return value if isinstance(value, bytes) else os.fsencode(value)


class Identifier(click.ParamType[str]):
    """A name for a request, as nodes take it."""

    name = "text"

    @override
    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        raw = os.fsencode(value)
        if not raw:
            self.fail(
                f"it is empty; give it 1 to {IDENTIFIER_BYTES_MAX} bytes, or leave it out.",
                param,
                ctx,
            )
        if len(raw) > IDENTIFIER_BYTES_MAX:
            self.fail(
                f"it has {len(raw)} bytes, and the limit is {IDENTIFIER_BYTES_MAX}.", param, ctx
            )
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.fail("it is not UTF-8.", param, ctx)


def asks(
    *, timeout_s: float = TIMEOUT_S, as_json: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that make up its first argument, `Asked`.

    :param timeout_s: how long a request may take, unless the user says otherwise.
    :param as_json: whether the user may choose JSON.
    """
    options = [
        node_options,
        click.option(
            "--timeout",
            "timeout_s",
            type=Seconds(),
            default=timeout_s,
            show_default=True,
            metavar="SECONDS",
            help="How long a request may take.",
        ),
    ]
    if as_json:
        options.append(
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
        )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def collected(
            *,
            nodes: Sequence[str],
            settings: str | None,
            timeout_s: float,
            as_json: bool = False,
            **others: object,
        ) -> None:
            asked = Asked(nodes=nodes, settings=settings, timeout_s=timeout_s, as_json=as_json)
            command(asked, **others)

        decorated: Callable[..., None] = collected
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def read_value(given: bytes) -> bytes:
    """Return the value that is ``given``, which "-" says is on standard input.

    :raises TooLarge: no cluster takes so long a value.
    """
    if given != STDIN:
        return given
    value = sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
    if len(value) > VALUE_BYTES_MAX:
        raise TooLarge(
            f"The value on standard input has more than {VALUE_BYTES_MAX} bytes, which no cluster"
            " takes; nothing was changed."
        )
    return value
