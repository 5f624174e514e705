"""What several nodes print, on one terminal."""

from __future__ import annotations

from kvpaxos.cli.paint import Painter

LINE = "2026-11-21T21:30:00.123Z n02 info  node.links: n01 is up"
NODES = tuple(f"n{number:02}" for number in range(1, 15))


def test_without_colors_a_log_line_stays_as_it_is() -> None:
    painter = Painter(NODES, colors=False)
    assert painter.line("n02", LINE) == f"{LINE}\n".encode()
    assert painter.announcement("n02 has stopped") == b"kvpaxos: n02 has stopped\n"


def test_what_names_no_node_is_given_the_name() -> None:
    painter = Painter(NODES, colors=False)
    assert painter.line("n02", "Traceback (most recent call last):") == (
        b"n02 | Traceback (most recent call last):\n"
    )
    assert painter.line("n02", LINE.replace("n02", "n03", 1)) == (
        b"n02 | " + LINE.replace("n02", "n03", 1).encode() + b"\n"
    )
    assert painter.line("n02", "") == b"n02 | \n"


def test_the_head_of_a_line_has_the_color_of_its_node() -> None:
    painter = Painter(NODES, colors=True)
    assert painter.line("n02", LINE) == (
        b"\x1b[33m2026-11-21T21:30:00.123Z n02 info\x1b[0m  node.links: n01 is up\n"
    )
    heads = {painter.line(node, "x").split(b"m")[0] for node in NODES[:10]}
    assert len(heads) == 10


def test_half_a_character_does_not_lose_the_line() -> None:
    assert Painter(NODES, colors=False).line("n01", "\udcff") == b"n01 | \\udcff\n"
