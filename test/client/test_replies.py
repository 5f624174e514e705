"""What replies mean, in the three dialects and in words that are no node's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from kvpaxos.client.replies import (
    REST_S_MAX,
    Failed,
    Outcome,
    Reply,
    read_answer,
    read_count,
    read_refusal,
    read_table,
)
from kvpaxos.client.requests import Verb
from kvpaxos.client.results import Answer, Receipt
from kvpaxos.client.retrying import Trouble
from kvpaxos.errors import (
    BadRequest,
    ConditionFailed,
    Forbidden,
    KeyExists,
    KeyMissing,
    OutcomeUnknown,
    TooLarge,
    ValueDiffers,
)

NODE = "http://a"
HEADERS = {
    "x-kvpaxos-slot": "7",
    "x-kvpaxos-leader": "n02",
    "x-kvpaxos-read": "logged",
}
RECEIPT = Receipt(NODE, 7, "n02", "logged")


def reply(status: int, members: Any, **headers: str) -> Reply:
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    return Reply(NODE, status, {**HEADERS, **headers}, body)


YES: dict[str, Any] = {"success": "true"}
NO: dict[str, Any] = {"success": "false"}
PLAIN_YES: dict[str, Any] = {"success": True}
PLAIN_NO: dict[str, Any] = {"success": False, "message": "No.", "applied": "no"}


@dataclass(frozen=True)
class Done:
    dialect: str
    verb: Verb
    members: Any
    value: bytes | None


DONE = [
    Done("seed", "insert", YES, None),
    Done("seed", "update", {**YES, "value": "old"}, b"old"),
    Done("seed", "get", {**YES, "value": ""}, b""),
    Done("seed", "get", {**YES, "value": "键"}, "键".encode()),
    Done("seed", "get", {**YES, "value": None, "value_base64": "/wA="}, b"\xff\x00"),
    Done("handout", "update", YES, None),
    Done("handout", "append", YES, None),
    Done("handout", "delete", {**YES, "value": "old"}, b"old"),
    Done("plain", "set", PLAIN_YES, None),
    Done("plain", "append", {**PLAIN_YES, "value": "new"}, b"new"),
]


@pytest.mark.parametrize("case", DONE, ids=lambda case: f"{case.dialect}-{case.verb}-{case.value}")
def test_success_brings_the_value_and_the_receipt(case: Done) -> None:
    understood = read_answer(reply(200, case.members), case.verb, b"k")
    assert understood == Outcome(Answer(case.value, RECEIPT))


@dataclass(frozen=True)
class Unmet:
    dialect: str
    verb: Verb
    status: int
    members: Any
    error: type[ConditionFailed]
    current: bytes | None = None
    expects_none: bool = False


UNMET = [
    Unmet("seed", "insert", 200, {**NO, "message": "No."}, KeyExists),
    Unmet("seed", "update", 200, {**NO, "message": "No."}, KeyMissing),
    Unmet("seed", "delete", 200, {**NO, "message": "No."}, KeyMissing),
    Unmet("seed", "get", 200, {**NO, "message": "No."}, KeyMissing),
    Unmet("seed", "cas", 200, {**NO, "message": "No.", "value": "now"}, ValueDiffers, b"now"),
    Unmet(
        "seed",
        "cas",
        200,
        {**NO, "message": "No.", "value": None, "value_base64": "/w=="},
        ValueDiffers,
        b"\xff",
    ),
    Unmet("seed", "cas", 200, {**NO, "message": "No.", "value": None}, KeyMissing),
    Unmet(
        "seed",
        "cas",
        200,
        {**NO, "message": "No.", "value": "n"},
        KeyExists,
        b"n",
        expects_none=True,
    ),
    Unmet("handout", "insert", 200, NO, KeyExists),
    Unmet("handout", "update", 200, NO, KeyMissing),
    Unmet("handout", "delete", 200, {**NO, "value": ""}, KeyMissing),
    Unmet("handout", "get", 200, {**NO, "value": ""}, KeyMissing),
    Unmet("handout", "cas", 200, NO, ValueDiffers),
    Unmet("handout", "cas", 200, NO, KeyExists, expects_none=True),
    Unmet("plain", "insert", 409, PLAIN_NO, KeyExists),
    Unmet("plain", "update", 404, PLAIN_NO, KeyMissing),
    Unmet("plain", "get", 404, PLAIN_NO, KeyMissing),
    Unmet("plain", "cas", 409, {**PLAIN_NO, "value": "now"}, ValueDiffers, b"now"),
    Unmet("plain", "cas", 404, {**PLAIN_NO, "value": None}, KeyMissing),
    Unmet("plain", "cas", 409, {**PLAIN_NO, "value": "n"}, KeyExists, b"n", expects_none=True),
]


@pytest.mark.parametrize(
    "case", UNMET, ids=lambda case: f"{case.dialect}-{case.verb}-{case.error.__name__}"
)
def test_what_a_key_forbids_is_an_error_with_what_it_holds(case: Unmet) -> None:
    understood = read_answer(
        reply(case.status, case.members), case.verb, b"k", expects_none=case.expects_none
    )
    assert isinstance(understood, Failed)
    error = understood.error
    assert type(error) is case.error
    assert isinstance(error, ConditionFailed)
    assert (error.key, error.current, error.applied) == (b"k", case.current, "no")
    assert str(error)


@dataclass(frozen=True)
class Refused:
    status: int
    members: Any
    error: type[Exception]


WHY = {**NO, "message": "It is wrong."}

REFUSED = [
    Refused(400, {**WHY, "applied": "no"}, BadRequest),
    Refused(403, {**WHY, "applied": "no"}, Forbidden),
    Refused(404, {**WHY, "applied": "no"}, BadRequest),
    Refused(405, {**WHY, "applied": "no"}, BadRequest),
    Refused(413, {**WHY, "applied": "no"}, TooLarge),
    Refused(400, {**WHY, "applied": "unknown"}, OutcomeUnknown),
    Refused(409, {**WHY, "applied": "unknown"}, OutcomeUnknown),
    Refused(409, {**WHY, "success": False, "applied": "unknown"}, OutcomeUnknown),
    Refused(200, {**WHY, "applied": "unknown"}, OutcomeUnknown),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.status}-{case.error.__name__}")
def test_what_no_other_node_would_take_either_is_an_error(case: Refused) -> None:
    for understood in (
        read_answer(reply(case.status, case.members), "insert", b"k"),
        read_refusal(reply(case.status, case.members)),
    ):
        assert isinstance(understood, Failed)
        assert type(understood.error) is case.error
        assert str(understood.error) == "It is wrong."


def test_a_dialect_without_sentences_gets_some_from_the_client() -> None:
    understood = read_answer(reply(413, NO), "set", b"k")
    assert isinstance(understood, Failed)
    assert type(understood.error) is TooLarge
    assert str(understood.error) == "The node refused the request with HTTP status 413."


TROUBLES = [
    (503, {**WHY, "applied": "no"}, Trouble("It is wrong", "no")),
    (503, NO, Trouble("HTTP status 503", "no")),
    (503, PLAIN_NO, Trouble("No", "no")),
    (507, {**WHY, "applied": "no"}, Trouble("It is wrong", "no")),
    (507, NO, Trouble("HTTP status 507", "no")),
    (504, {**WHY, "applied": "unknown"}, Trouble("It is wrong", "unknown")),
    (504, NO, Trouble("HTTP status 504", "unknown")),
    (500, {**WHY, "applied": "unknown"}, Trouble("It is wrong", "unknown")),
    # Whoever is in between says nothing of what a node did.
    (502, b"<html>Bad Gateway</html>", Trouble("HTTP status 502", "unknown")),
    (503, b"<html>Busy</html>", Trouble("HTTP status 503", "unknown")),
    (404, b"<html>Not Found</html>", Trouble("HTTP status 404", "unknown")),
    (503, {"error": "busy"}, Trouble("HTTP status 503", "unknown")),
]


@pytest.mark.parametrize(("status", "members", "trouble"), TROUBLES)
def test_all_else_is_trouble_that_another_node_may_not_have(
    status: int, members: Any, trouble: Trouble
) -> None:
    assert read_answer(reply(status, members), "insert", b"k") == trouble
    assert read_count(reply(status, members)) == trouble
    assert read_table(reply(status, members)) == trouble
    assert read_refusal(reply(status, members)) == trouble


def test_the_nodes_advice_on_one_attempt_is_left_out_of_what_is_said_of_all() -> None:
    message = "No leader is known; nothing was changed, and it is safe to send the request again."
    understood = read_refusal(reply(503, {**NO, "message": message, "applied": "no"}))
    assert understood == Trouble("No leader is known", "no")


@pytest.mark.parametrize(
    ("header", "rest_s"), [("1", 1.0), ("3600", REST_S_MAX), ("soon", 0.0), ("-1", 0.0)]
)
def test_a_node_may_ask_to_be_left_alone_for_a_while(header: str, rest_s: float) -> None:
    understood = read_refusal(reply(503, {**WHY, "applied": "no"}, **{"retry-after": header}))
    assert understood == Trouble("It is wrong", "no", rest_s)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"[" * 100_000,
        b"{",
        b"\xff",
        b'{"success":"perhaps"}',
        b'{"success":"true","value":7}',
        b'{"success":"true","value":null,"value_base64":"?"}',
    ],
)
def test_a_200_that_is_no_nodes_answer_may_stand_for_anything(body: bytes) -> None:
    for verb in ("get", "append"):
        understood = read_answer(reply(200, body), verb, b"k")
        assert isinstance(understood, Trouble)
        assert understood.applied == "unknown"


@pytest.mark.parametrize(
    ("members", "number"),
    [({"result": 3}, 3), ({"result": "3"}, 3), ({"result": 0}, 0)],
)
def test_a_number_may_be_spelled_in_two_ways(members: Any, number: int) -> None:
    assert read_count(reply(200, members)) == Outcome(number)


@pytest.mark.parametrize("members", [{}, [], {"result": True}, {"result": "x"}, {"result": None}])
def test_what_is_no_number_is_not_taken_for_one(members: Any) -> None:
    assert isinstance(read_count(reply(200, members)), Trouble)


def test_a_reply_without_a_receipt_is_answered_for_by_its_address_alone() -> None:
    bare = Reply(NODE, 200, {"x-kvpaxos-slot": "-"}, b'{"success":"true"}')
    assert read_answer(bare, "set", b"k") == Outcome(Answer(None, Receipt(NODE, 0, "", "")))


def test_text_of_an_answer_is_its_value_in_utf_8() -> None:
    assert Answer("键".encode(), RECEIPT).text == "键"
    for value in (None, b"\xff"):
        with pytest.raises(ValueError, match=r"no value|decode"):
            _ = Answer(value, RECEIPT).text
