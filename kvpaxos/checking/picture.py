"""Draws the calls around a contradiction as a picture that needs nothing but itself.

Each client has a line, and each call a bar on it. What comes in one moment is above what comes in
the same; moments stand at equal distances, however long it was from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import inf
from typing import Final, NamedTuple

from kvpaxos.checking.explanation import Break
from kvpaxos.checking.history import Call
from kvpaxos.checking.words import answer_words, call_words, quoted, request_words

CALLS_MAX: Final = 300
"""More calls than this are not drawn: those nearest to the offending one are, and the core."""

_LEFT: Final = 120
_TOP: Final = 64
_ROW: Final = 30
_BAR: Final = 22
_STEP: Final = 56
_LETTER: Final = 6.7
_WIDTH_MIN: Final = 980

_STYLE: Final = """
text { font: 11px ui-monospace, monospace; fill: #222 }
.name { font-weight: bold } .title { font: bold 14px system-ui, sans-serif }
.note { font: 11px system-ui, sans-serif; fill: #555 }
.line { stroke: #ddd } rect { stroke: #8aa; fill: #dcebf5 }
.refused rect { fill: #eee } .unknown rect { fill: #fff; stroke-dasharray: 4 3 }
.core rect { stroke: #b60; stroke-width: 2; fill: #ffe9c7 }
.offending rect { stroke: #900; stroke-width: 2; fill: #e33 } .offending text { fill: #fff }
g:hover rect { stroke: #000 }
"""

_HEAD: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
    ' viewBox="0 0 {width} {height}">'
)

_NOTE: Final = (
    "red: nothing explains this answer any more; orange: what it contradicts; dashed: outcome"
    " unknown. Time goes to the right, not to scale; hover over a bar to read all of it."
)


class Bar(NamedTuple):
    """One call's place."""

    call: Call
    row: int
    left: int
    right: int


def draw(found: Break) -> str:
    """Return an SVG document that shows ``found``."""
    calls = _shown(found)
    bars = _bars(calls)
    rows = _rows(calls)
    width = max(_WIDTH_MIN, _LEFT + _STEP * (1 + max(bar.right for bar in bars)))
    height = _TOP + _ROW * (1 + len(rows))
    core = set(map(id, found.core))
    parts = [
        _HEAD.format(width=width, height=height),
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" style="fill:#fff;stroke:none"/>',
        f'<text class="title" x="10" y="22">{_text(f"key {quoted(found.key)}")}</text>',
        f'<text class="note" x="10" y="42">{_NOTE}</text>',
        *_lines(rows, width),
        *(_drawn(bar, found.offending, core) for bar in bars),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _shown(found: Break) -> list[Call]:
    first = min(call.began for call in found.core)
    last = _end(found.offending)
    core = set(map(id, found.core))
    others = [
        call
        for call in found.calls
        if id(call) not in core and _end(call) >= first and call.began <= last
    ]
    others.sort(key=lambda call: call.began)
    room = max(0, CALLS_MAX - len(found.core))
    kept = others[-room:] if room else []
    return sorted([*found.core, *kept], key=lambda call: (call.began, _end(call)))


def _rows(calls: Sequence[Call]) -> dict[tuple[str, int], int]:
    """Return the row of each line, by its client and which of that client's lines it is."""
    places = sorted({place for _, place in _placed(calls)})
    return {place: row for row, place in enumerate(places)}


def _placed(calls: Sequence[Call]) -> Iterator[tuple[Call, tuple[str, int]]]:
    """Yield each call with its client, and the first line of that client that is free for it."""
    ends: dict[str, list[float]] = {}
    for call in calls:
        lines = ends.setdefault(call.client, [])
        free = (number for number, end in enumerate(lines) if end <= call.began)
        number = next(free, len(lines))
        # A call that goes on for ever is in nobody's way: it is drawn as a stub.
        lines[number : number + 1] = [call.began if call.ended is None else call.ended]
        yield call, (call.client, number)


def _bars(calls: Sequence[Call]) -> list[Bar]:
    moments = sorted({call.began for call in calls} | {_end(call) for call in calls} - {inf})
    columns = {moment: column for column, moment in enumerate(moments)}
    rows = _rows(calls)
    return [
        Bar(
            call,
            rows[place],
            columns[call.began],
            max(columns.get(_end(call), 0), columns[call.began] + 1),
        )
        for call, place in _placed(calls)
    ]


def _lines(rows: dict[tuple[str, int], int], width: int) -> Iterator[str]:
    for (client, number), row in rows.items():
        middle = _TOP + _ROW * row + _BAR // 2
        yield f'<line class="line" x1="{_LEFT}" x2="{width}" y1="{middle}" y2="{middle}"/>'
        if not number:
            yield f'<text class="name" x="10" y="{middle + 4}">{_text(client[:16])}</text>'


def _drawn(bar: Bar, offending: Call, core: set[int]) -> str:
    call = bar.call
    kind = "offending" if call is offending else "core" if id(call) in core else ""
    kind = f"{call.outcome} {kind}".strip()
    left, top = _LEFT + _STEP * bar.left, _TOP + _ROW * bar.row
    width = _STEP * (bar.right - bar.left) - 3
    label = f"{request_words(call)} → {answer_words(call)}"
    room = int((width - 6) / _LETTER)
    label = label if len(label) <= room else label[: max(0, room - 1)] + "…"
    return (
        f'<g class="{kind}"><title>{_text(call_words(call))}</title>'
        f'<rect x="{left}" y="{top}" width="{width}" height="{_BAR}" rx="3"/>'
        f'<text x="{left + 4}" y="{top + 15}">{_text(label)}</text></g>'
    )


def _end(call: Call) -> float:
    return inf if call.ended is None else call.ended


def _text(text: str) -> str:
    """Return ``text`` for XML, without the characters that it cannot hold."""
    return escape("".join(letter if letter.isprintable() else "�" for letter in text))
