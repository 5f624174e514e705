"""Draws a run: a line for each node, arrows for messages, marks for all else. One file, no more.

Time goes to the right. The more happens the more room it is given, so it is not to scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from math import sqrt
from typing import Final

from kvpaxos.simulator.recorder import Arrow, Mark, Recorder, Span

_LEFT: Final = 70.0
_TOP: Final = 180.0
_ROW: Final = 110.0
_STEP_MIN: Final = 4.0
_STEP_MAX: Final = 60.0
_LABEL: Final = 6.2
"""How wide a letter is."""
_LEVELS: Final = 6
"""So many rows of labels stand above each other, so that neighbors can be read."""

_NAMED: Final = 1200
"""So often a line says whose it is."""

_KINDS: Final = {
    "Prepare": "phase1",
    "Promise": "phase1",
    "Nack": "phase1",
    "Accept": "phase2",
    "Accepted": "phase2",
    "Forward": "forward",
}

_STYLE: Final = """
text { font: 10px ui-monospace, monospace; fill: #333 }
.title { font: bold 14px system-ui, sans-serif } .note { font: 11px system-ui, sans-serif }
.name { font-weight: bold; font-size: 13px } .tick { fill: #999 }
.runs { stroke: #666; stroke-width: 2 }
.paused { stroke: #e90; stroke-width: 2; stroke-dasharray: 2 4 }
.term { stroke: #fc5; stroke-width: 9 } .sync { fill: #4a9 }
.arrow { stroke: #aaa; stroke-width: 1; fill: none } .phase1 { stroke: #83c }
.phase2 { stroke: #27c } .forward { stroke: #2a6 } .lost { stroke-dasharray: 3 3 }
.arrow:hover { stroke-width: 4 } .done { stroke: #c22; stroke-dasharray: 1 4 } .doing { fill: #c22 }
.death { stroke: #c22; stroke-width: 3 } .decided { fill: #fff; stroke: #333 } .told { fill: #27c }
.wrong { fill: #c00; font: bold 13px system-ui, sans-serif }
"""

_ARROWHEAD: Final = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7"'
    ' orient="auto"><path d="M0 0L8 4L0 8z" fill="context-stroke"/></marker></defs>'
)

_NOTES: Final = (
    "Lines: the process runs (dotted: it stands still). Yellow: it leads, with that ballot.",
    "Green: a sync of its disk. Circles: slots that it knows to be decided. Red: what was done.",
    "Arrows: purple phase 1, blue phase 2, green forwarded commands, gray the rest; dashed: lost.",
    "Blue dots: what clients were told. Heartbeats are left out. Hover for more; Ctrl+wheel zooms.",
)

_SCRIPT: Final = """
const svg = document.querySelector("svg"), width = +svg.getAttribute("width"),
  height = +svg.getAttribute("height"); let scale = 1;
addEventListener("wheel", event => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  const page = document.scrollingElement || document.documentElement, before = scale;
  scale = Math.min(20, Math.max(0.05, scale * Math.exp(-event.deltaY / 300)));
  svg.setAttribute("width", width * scale); svg.setAttribute("height", height * scale);
  const by = scale / before;
  page.scrollLeft = (page.scrollLeft + event.clientX) * by - event.clientX;
  page.scrollTop = (page.scrollTop + event.clientY) * by - event.clientY;
}, { passive: false });
"""


def draw(recorder: Recorder, title: str, wrong: str | None) -> str:
    """Return an SVG document that shows what ``recorder`` has kept.

    :param wrong: the rule that was broken, if one was.
    """
    return "\n".join(_Drawing(recorder).parts(title, wrong)) + "\n"


def page(svg: str, title: str) -> str:
    """Return an HTML document that shows nothing but ``svg``."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<body>\n{svg}</body></html>\n"
    )


class _Drawing:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        nodes = sorted({span.node for span in recorder.conditions})
        self._y = {node: _TOP + _ROW * number for number, node in enumerate(nodes)}
        self._bottom = _TOP + _ROW * len(nodes)
        self._x = dict(self._places())
        self._width = max(self._x.values(), default=_LEFT) + 200

    def parts(self, title: str, wrong: str | None) -> Iterator[str]:
        width, height = f"{self._width:.0f}", f"{self._bottom + 40:.0f}"
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}">'
        )
        yield f"<style>{_STYLE}</style>{_ARROWHEAD}"
        yield f'<rect width="{width}" height="{height}" style="fill:#fff"/>'
        yield _text("title", 10, 22, title)
        for number, note in enumerate(_NOTES):
            yield _text("note", 10, 38 + 13 * number, note)
        if wrong is not None:
            yield _text("wrong", 640, 22, f"Broken: {wrong}")
        yield from self._clock()
        yield from map(self._term, self._recorder.terms)
        yield from map(self._condition, self._recorder.conditions)
        yield from map(self._sync, self._recorder.syncs)
        yield from map(self._arrow, self._recorder.arrows)
        yield from self._marks()
        for node, y in self._y.items():
            for x in range(12, int(self._width), _NAMED):
                yield _text("name", x, y - 6 if x > _LEFT else y + 4, node)
        yield f"<script><![CDATA[{_SCRIPT}]]></script></svg>"

    def _places(self) -> Iterator[tuple[float, float]]:
        """Yield for each moment where it is drawn: the longer nothing happened the farther off."""
        recorder = self._recorder
        moments = {mark.at for mark in recorder.marks}
        for span in (*recorder.conditions, *recorder.terms, *recorder.syncs):
            moments |= {span.begin, span.end}
        for arrow in recorder.arrows:
            moments |= {arrow.sent, arrow.arrived or arrow.sent}
        x, before = _LEFT, min(moments, default=0.0)
        for moment in sorted(moments):
            x += min(_STEP_MAX, _STEP_MIN + 8 * sqrt((moment - before) * 1000))
            before = moment
            yield moment, x

    def _clock(self) -> Iterator[str]:
        drawn = 0.0
        for moment, x in self._x.items():
            if x >= drawn + 120:
                drawn = x
                yield _text("tick", x, self._bottom + 20, f"{moment:.3f} s")

    def _term(self, span: Span) -> str:
        label = _text("tick", self._x[span.begin] + 2, self._y[span.node] - 8, span.what)
        return self._line("term", span, f"{span.node} leads with {span.what}") + label

    def _condition(self, span: Span) -> str:
        if span.what == "down":
            return self._death(span)
        return self._line(span.what, span, f"{span.node} {span.what}")

    def _death(self, span: Span) -> str:
        x, y = self._x[span.begin], self._y[span.node]
        cross = f"M{x - 6:.1f} {y - 6}l12 12m0 -12l-12 12"
        words = f"{span.node} is down from {span.begin:.6f} to {span.end:.6f}"
        return f'<path class="death" d="{cross}">{_hover(words)}</path>'

    def _line(self, kind: str, span: Span, words: str) -> str:
        y = self._y[span.node]
        hover = _hover(f"{words} from {span.begin:.6f} to {span.end:.6f}")
        begin, end = self._x[span.begin], self._x[span.end]
        return f'<path class="{kind}" d="M{begin:.1f} {y}H{end:.1f}">{hover}</path>'

    def _sync(self, span: Span) -> str:
        begin, end = self._x[span.begin], self._x[span.end]
        hover = _hover(f"{span.node} syncs from {span.begin:.6f} to {span.end:.6f}")
        y, width = self._y[span.node] + 3, max(2.0, end - begin)
        return (
            f'<rect class="sync" x="{begin:.1f}" y="{y}" width="{width:.1f}" height="5">'
            f"{hover}</rect>"
        )

    def _arrow(self, arrow: Arrow) -> str:
        kind = _KINDS.get(arrow.kind, "")
        x, y = self._x[arrow.sent], self._y[arrow.sender]
        to_x, to_y = x + 15, y + (self._y[arrow.receiver] - y) * 0.25
        words = f"{arrow.sender}>{arrow.receiver}, sent at {arrow.sent:.6f}"
        if arrow.arrived is None:
            kind = f"{kind} lost"
            words = f"{words}, never arrived"
        else:
            to_x, to_y = self._x[arrow.arrived], self._y[arrow.receiver]
            words = f"{words}, arrived at {arrow.arrived:.6f}"
        line = f"M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}"
        hover = _hover(f"{words}\n{arrow.what}")
        return f'<path class="arrow {kind}" d="{line}" marker-end="url(#head)">{hover}</path>'

    def _marks(self) -> Iterator[str]:
        free = [0.0] * _LEVELS
        for mark in self._recorder.marks:
            x = self._x[mark.at]
            if mark.kind == "decided":
                yield self._decided(mark, x)
            elif mark.kind == "told":
                yield (
                    f'<circle class="told" cx="{x:.1f}" cy="{self._bottom - 20:.0f}" r="3">'
                    f"{_hover(f'{mark.at:.6f} {mark.what}')}</circle>"
                )
            else:
                level = min(range(_LEVELS), key=lambda one: max(free[one], x))
                free[level] = x + _LABEL * len(mark.what) + 10
                yield self._done(mark, x, 96 + 10 * level)

    def _decided(self, mark: Mark, x: float) -> str:
        y = self._y[mark.node]
        words = f"{mark.node} knows at {mark.at:.6f} that {mark.what} is decided"
        circle = f'<circle class="decided" cx="{x:.1f}" cy="{y}" r="4">{_hover(words)}</circle>'
        return circle + _text("tick", x - 3, y - 18, mark.what)

    def _done(self, mark: Mark, x: float, y: float) -> str:
        line = f'<path class="done" d="M{x:.1f} {y}V{self._bottom - 30:.0f}"/>'
        return line + _text("doing", x + 2, y, mark.what)


def _text(kind: str, x: float, y: float, words: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.0f}">{escape(words)}</text>'


def _hover(words: str) -> str:
    return f"<title>{escape(words)}</title>"
