"""The log of a node: what its lines look like, and which events get one."""

from __future__ import annotations

import json

import pytest
from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.python.reflect import namedAny
from typing_extensions import override

from kvpaxos.node import logs
from kvpaxos.node.lines import QUEUE_BYTES_MAX
from kvpaxos.node.logs import LogSettings, NodeLog


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


def logged(event: LogEvent, **settings: str) -> str:
    sink = Kept()
    log = NodeLog(LogSettings("n01", **settings), sink)
    log({"log_time": 1.5, "log_namespace": "kvpaxos.node.links", **event})
    log.writer.close()
    return sink.written.decode()


def test_a_line_names_time_node_level_system_and_text() -> None:
    line = logged({"log_format": "{peer} is up", "peer": "n02", "log_level": LogLevel.warn})
    assert line == "1970-01-01T00:00:01.500Z n01 warn  node.links: n02 is up\n"


def test_a_text_of_several_lines_is_indented_so_that_records_stay_apart() -> None:
    assert logged({"log_format": "one\ntwo"}).splitlines() == [
        "1970-01-01T00:00:01.500Z n01 info  node.links: one",
        "    two",
    ]


def test_what_strangers_send_does_not_steer_a_terminal() -> None:
    line = logged({"log_format": "{key}", "key": "\x1b[2J\r\x07\x9b\x00"})
    assert line.endswith(": \\x1b[2J\\x0d\\x07\\x9b\\x00\n")


def test_half_a_character_does_not_lose_the_line() -> None:
    assert logged({"log_format": "{key}", "key": "\ud800"}).endswith(": \\ud800\n")
    assert json.loads(logged({"log_format": "{key}", "key": "\ud800"}, form="json"))


def test_a_failure_comes_with_its_traceback() -> None:
    failure = Failure(ValueError("broken"))
    text = logged({"log_format": "halted", "log_failure": failure, "log_level": LogLevel.critical})
    assert "critical node.links: halted\n    " in text
    assert "ValueError: broken" in text


def test_a_json_line_is_one_object_with_the_fields_of_the_event() -> None:
    text = logged(
        {
            "log_format": "{peer} is\nup",
            "peer": "n02",
            "tries": 3,
            "rate": float("inf"),
            "since": 0.25,
            "address": ("127.0.0.1", 7702),
            "log_level": LogLevel.info,
        },
        form="json",
    )
    assert text.count("\n") == 1
    assert json.loads(text) == {
        "time": "1970-01-01T00:00:01.500Z",
        "node": "n01",
        "level": "info",
        "system": "node.links",
        "message": "n02 is\nup",
        "peer": "n02",
        "tries": 3,
        "rate": "inf",
        "since": 0.25,
        "address": "('127.0.0.1', 7702)",
    }


class Hostile:
    @override
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("form", logs.FORMS)
def test_an_object_that_cannot_be_shown_does_not_break_the_log(form: str) -> None:
    assert "no" in logged({"log_format": "{thing!r}", "thing": Hostile()}, form=form)


OURS, THEIRS = "kvpaxos.node", "twisted.internet.base"


@pytest.mark.parametrize(
    ("setting", "namespace", "level", "shown"),
    [
        ("info", OURS, "debug", False),
        ("info", OURS, "info", True),
        ("warn", OURS, "info", False),
        ("info", THEIRS, "info", False),
        ("info", THEIRS, "warn", True),
        ("error", THEIRS, "warn", False),
        ("debug", OURS, "debug", True),
        ("debug", THEIRS, "debug", True),
        ("info", "stdout", "info", True),
    ],
)
def test_libraries_must_have_something_to_say(
    setting: str, namespace: str, level: str, *, shown: bool
) -> None:
    event = {
        "log_format": "x",
        "log_namespace": namespace,
        "log_level": LogLevel.levelWithName(level),
    }
    assert bool(logged(event, level=setting)) == shown


def test_a_logger_of_twisted_reaches_the_sink() -> None:
    sink = Kept()
    log = NodeLog(LogSettings("n07", form="json"), sink)
    Logger("kvpaxos.node", observer=LogPublisher(log)).info("{slot} decided", slot=12)
    log.writer.close()
    assert json.loads(sink.written)["slot"] == 12


def test_missing_lines_are_told_in_the_form_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1.5)
    sink = Kept()
    log = NodeLog(LogSettings("n01", form="json"), sink)
    log({"log_format": "x" * (QUEUE_BYTES_MAX + 1)})
    log({"log_format": "next"})
    log.writer.close()
    told, following = map(json.loads, sink.written.splitlines())
    assert (told["level"], told["lines"]) == ("warn", 1)
    assert following["message"] == "next"


def test_twistd_finds_the_factory_by_the_name_it_is_given() -> None:
    assert namedAny(logs.choose(LogSettings("n01"))) is logs.observer
