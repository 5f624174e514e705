"""Questions to nodes: every outcome is an answer, and none takes for ever."""

from __future__ import annotations

from typing import cast

import pytest
from treq.client import HTTPClient
from treq.testing import StubTreq
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from kvpaxos.cli.asking import ANSWER_BYTES_MAX, TIMEOUT_S, Answer, Asking


class Says(Resource):
    """Answers every request with the same bytes."""

    isLeaf = True

    def __init__(self, body: bytes, status: int) -> None:
        super().__init__()
        self._body = body
        self._status = status

    def render_GET(self, request: Request) -> bytes:  # noqa: N802 -- Twisted's name
        request.setResponseCode(self._status)
        return self._body


class Hangs(Resource):
    """Never answers."""

    isLeaf = True

    def render_GET(self, _request: Request) -> int:  # noqa: N802 -- Twisted's name
        return NOT_DONE_YET


class Refusing:
    """A client whose connections are refused."""

    def get(self, _url: str) -> Deferred[None]:
        return fail(Refused())


class AskingTests(SynchronousTestCase):
    """`Asking`."""

    def answer(self, body: bytes, status: int = 200) -> Answer:
        client = StubTreq(Says(body, status))
        asked = Asking(cast(HTTPClient, client), Clock()).get("http://n01/kvman/status")
        client.flush()
        return self.successResultOf(asked)

    def test_a_table_is_handed_on(self) -> None:
        assert self.answer(b'{"node": "n01"}') == Answer({"node": "n01"})

    def test_a_refusal_comes_with_its_reason(self) -> None:
        answer = self.answer(b'{"message": "No leader is known."}', 503)
        assert answer.trouble == "No leader is known"
        assert self.answer(b"{}", 500).trouble == "HTTP status 500"

    def test_what_is_not_json_comes_from_no_node(self) -> None:
        for body in (b"<html>", b"[1]", b"\xff", b""):
            assert self.answer(body).trouble == "it does not answer in JSON, as a node would"

    def test_an_answer_without_end_is_cut_off(self) -> None:
        answer = self.answer(b'"' + b"x" * ANSWER_BYTES_MAX + b'"')
        assert answer.trouble == "its answer has no end"

    def test_silence_is_an_answer_after_a_while(self) -> None:
        clock = Clock()
        asked = Asking(cast(HTTPClient, StubTreq(Hangs())), clock).get("http://n01/readyz")
        clock.advance(TIMEOUT_S / 2)
        self.assertNoResult(asked)
        clock.advance(TIMEOUT_S / 2)
        assert self.successResultOf(asked).trouble == "no answer within 2 s"

    def test_who_has_less_time_is_told_sooner(self) -> None:
        clock = Clock()
        asking = Asking(cast(HTTPClient, StubTreq(Hangs())), clock, timeout_s=0.25)
        asked = asking.get("http://n01/readyz")
        clock.advance(0.25)
        assert self.successResultOf(asked).trouble == "no answer within 0.25 s"
        assert clock.getDelayedCalls() == []

    def test_who_asks_no_longer_gets_no_answer(self) -> None:
        clock = Clock()
        asked = Asking(cast(HTTPClient, StubTreq(Hangs())), clock).get("http://n01/readyz")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        assert clock.getDelayedCalls() == []

    def test_a_longer_answer_is_read_if_one_is_expected(self) -> None:
        body = b'{"x": "' + b"x" * ANSWER_BYTES_MAX + b'"}'
        client = StubTreq(Says(body, 200))
        asking = Asking(cast(HTTPClient, client), Clock(), bytes_max=2 * ANSWER_BYTES_MAX)
        asked = asking.get("http://n01/kvman/journal")
        client.flush()
        assert self.successResultOf(asked).trouble is None

    def test_a_refused_connection_is_an_answer(self) -> None:
        asking = Asking(cast(HTTPClient, Refusing()), Clock())
        assert self.successResultOf(asking.ready("http://n01")) == "it refuses connections"


pytestmark = pytest.mark.timeout(60)
