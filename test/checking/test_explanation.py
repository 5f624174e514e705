"""Where a history breaks, in words and as a picture."""

from __future__ import annotations

from random import Random
from xml.etree import ElementTree as ET

from kvpaxos.checking.claims import relaxed
from kvpaxos.checking.explanation import Break
from kvpaxos.checking.history import Call
from kvpaxos.checking.linearizability import check
from kvpaxos.checking.picture import CALLS_MAX, draw
from kvpaxos.checking.words import break_words
from kvpaxos.store.commands import Append, Get, Set
from test.checking.brute import KEY, changed, linearizable, true_history
from test.checking.test_linearizability import GET, did, maybe, put, refused


def broken(calls: list[Call]) -> Break:
    [found] = check(calls).breaks
    return found


NOISE = [
    call
    for n in range(50)
    for call in (did(put(f"{n}"), n, n + 0.4), did(GET, n + 0.5, n + 0.9, b"%d" % n))
]
STALE = [
    did(put("blue"), 100, 101, by="c1"),
    did(put("red"), 102, 103, by="c2"),
    did(GET, 104, 105, b"blue", by="c3"),
]


def test_the_offending_answer_is_the_first_that_nothing_explains() -> None:
    later = [did(GET, 106, 107, b"never written"), did(put("x"), 108, 109)]
    found = broken([*NOISE, *STALE, *later])
    assert found.offending == STALE[-1]
    assert found.explained == len(NOISE) + 2
    assert found.held == (b"red",)


def test_the_core_is_what_contradicts_itself_and_nothing_else() -> None:
    assert list(broken([*NOISE, *STALE, maybe(put("y"), 0)]).core) == STALE


def test_a_core_is_a_contradiction_and_less_of_it_is_none() -> None:
    random = Random("cores")
    seen = 0
    while seen < 60:
        calls = list(changed(random, true_history(random, random.randrange(2, 6))))
        verdict = check(calls)
        for found in verdict.breaks:
            seen += 1
            kept = [call if call in found.core else relaxed(call) for call in calls]
            assert found.offending in found.core
            assert not linearizable(kept)
            for one in found.core:
                assert linearizable([relaxed(call) if call == one else call for call in kept])


def test_all_values_that_the_key_may_have_held_are_told() -> None:
    calls = [did(put("a"), 0, 9), did(put("b"), 0, 9), did(GET, 10, 11, b"c")]
    assert set(broken(calls).held) == {b"a", b"b"}


def test_a_break_is_told_in_words() -> None:
    assert list(break_words(broken(STALE))) == [
        'key "k": no order of its calls explains the 3 answers.',
        "  The 2 answers before this one can be explained, and with it no more:",
        '    c3: get -> "blue" (104 to 105)',
        '  Without it, once all of these are in order, the key holds "red".',
        "  These 3 contradict each other, whatever came of all the other calls:",
        '    c1: set "blue" -> done (100 to 101)',
        '    c2: set "red" -> done (102 to 103)',
        '    c3: get -> "blue" (104 to 105)',
    ]


def test_long_and_strange_values_are_told_in_short() -> None:
    calls = [did(Set(KEY, b"\xff\x1b" + b"x" * 1000), 0, 1), refused(GET, 2, 3)]
    words = "\n".join(break_words(broken(calls)))
    assert "\\\\xff\\u001bx" in words
    assert "x" * 100 not in words
    assert "holds" in words


def test_an_answer_may_contradict_nothing_but_itself() -> None:
    words = list(break_words(broken([did(GET, 0, 1, b"a")])))
    assert words[-1] == "  It cannot be explained whatever came of all the other calls."


def bars(picture: str) -> dict[str, list[str]]:
    """Return what a reader who hovers sees, by the class of the bar."""
    namespace = "{http://www.w3.org/2000/svg}"
    found: dict[str, list[str]] = {}
    for group in ET.fromstring(picture).iter(f"{namespace}g"):  # noqa: S314 -- we made it
        title = group.find(f"{namespace}title")
        assert title is not None
        found.setdefault(group.attrib["class"], []).append(title.text or "")
    return found


def test_the_picture_shows_the_calls_around_in_their_clients_lines() -> None:
    around = [maybe(Append(KEY, b"<&>\0"), 101), refused(Get(KEY), 99, 100)]
    picture = draw(broken([*STALE, around[0]]))
    assert bars(picture) == {
        "done core": ['c1: set "blue" -> done (100 to 101)', 'c2: set "red" -> done (102 to 103)'],
        "done offending": ['c3: get -> "blue" (104 to 105)'],
        "unknown": ['c: append "<&>\\u0000" -> unknown (101 to ?)'],
    }
    for client in ("c1", "c2", "c3", "c"):
        assert f'">{client}</text>' in picture


def test_the_picture_has_a_bound() -> None:
    reads = [did(GET, 103.1 + n / 1000, 103.1 + n / 1000 + 0.0001, b"red") for n in range(500)]
    shown = bars(draw(broken([*STALE, *reads])))
    assert sum(map(len, shown.values())) == CALLS_MAX
    assert len(shown["done offending"]) == 1
