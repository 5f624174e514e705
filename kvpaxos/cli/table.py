"""Tables on a terminal; above all that of a cluster's report."""

from __future__ import annotations

from typing import Final, NoReturn, TextIO

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from kvpaxos.cli.report import NOT_SERVING, SERVING, ClusterReport, NodeReport, Peer

_COLUMNS: Final = (
    ("node", "left"),
    ("role", "left"),
    ("ballot", "right"),
    ("leader", "left"),
    ("decided", "right"),
    ("applied", "right"),
    ("keys", "right"),
    ("journal", "right"),
    ("state", "right"),
    ("peers (ms)", "left"),
)

ROOMY: Final = 100
"""From this width on columns stand further apart."""

PLAIN_WIDTH: Final = 160
"""Columns of what goes into a file or a pipe."""

_ROLE_STYLES: Final = {"leading": "bold green", "following": "green"}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_UNIT: Final = 1024


class _Console(Console):
    """A console that leaves it to its caller what happens when nobody reads any more."""

    @override
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def console(output: TextIO) -> Console:
    """Return what draws on ``output``, be it a terminal or not."""
    return _Console(file=output, highlight=False, width=None if output.isatty() else PLAIN_WIDTH)


def columns(*names: str) -> Table:
    """Return an empty table of text, with a head. What is too long for it goes on below."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, header_style="bold", overflow="fold")
    return table


def drawn(report: ClusterReport, width: int) -> Group:
    """Return what shows ``report`` on a terminal that is ``width`` columns wide, from 80 on."""
    table = Table(box=None, pad_edge=False, padding=(0, 2 if width >= ROOMY else 1, 0, 0))
    for name, side in _COLUMNS:
        table.add_column(
            name,
            justify="right" if side == "right" else "left",
            header_style="bold",
            no_wrap=not name.startswith("peers"),
        )
    for node in report.nodes:
        table.add_row(*_row(node))
    style = {SERVING: "green", NOT_SERVING: "bold red"}.get(report.exit_status, "yellow")
    troubles = [
        Text(f"{node.node}: {node.trouble}", "yellow") for node in report.nodes if node.trouble
    ]
    alarms = [
        Text(f"{node.node}: alarm: {node.alarm}", "bold yellow")
        for node in report.nodes
        if node.alarm
    ]
    objections = [Text(objection, "bold yellow") for objection in report.objections]
    advice = [Text(report.advice, "yellow")] if report.advice is not None else []
    return Group(table, Text(report.verdict, style), *troubles, *alarms, *objections, *advice)


def size(count: int | None) -> str:
    """Return a number of bytes as people read it, in two digits or more."""
    if count is None:
        return ""
    amount, units = float(count), list(_UNITS)
    while amount >= _UNIT and len(units) > 1:
        amount /= _UNIT
        units.pop(0)
    return f"{count if units[0] == 'B' else _short(amount)} {units[0]}"


def _row(node: NodeReport) -> list[Text]:
    if not node.answered:
        return [Text(node.node), Text("unreachable", "bold red")]
    peers = Text(" ").join(_peer(peer) for peer in node.peers)
    return [
        Text(node.node, "bold" if node.role == "leading" else ""),
        Text(node.role, _ROLE_STYLES.get(node.role, "yellow")),
        Text(node.ballot),
        Text(node.leader),
        Text(_shown(node.decided)),
        Text(_shown(node.applied)),
        Text(_shown(node.keys)),
        Text(size(node.journal_bytes)),
        Text(size(node.state_bytes)),
        peers,
    ]


def _peer(peer: Peer) -> Text:
    if not peer.up:
        return Text(f"{peer.node}:down", "red")
    if peer.round_trip_ms is None:
        return Text(f"{peer.node}:up")
    return Text(f"{peer.node}:{_short(peer.round_trip_ms)}")


def _shown(number: int | None) -> str:
    return "" if number is None else f"{number}"


def _short(amount: float) -> str:
    """Return two digits of ``amount``, or all that stand before its point."""
    return f"{amount:.1f}" if amount < 9.95 else f"{amount:.0f}"  # noqa: PLR2004 -- rounds to 10
