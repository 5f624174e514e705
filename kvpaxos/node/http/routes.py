"""The paths of the HTTP face, and what each of them asks of the node."""

# mypy: allow-untyped-calls
# The methods of a twisted.web request have no annotations.

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Final, Literal, TypeVar, assert_never, cast

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import MethodNotAllowed

from kvpaxos.errors import BadRequest, TooLarge, Unavailable
from kvpaxos.node.http.backup import Backup
from kvpaxos.node.http.connection import Request
from kvpaxos.node.http.dialects import Verb
from kvpaxos.node.http.dump import Dump
from kvpaxos.node.http.failures import allow
from kvpaxos.node.http.guard import Guard
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.parameters import Parameters
from kvpaxos.node.http.replies import OCTETS, Replies, Reply, reused, told
from kvpaxos.node.http.store import LinkChange, Store
from kvpaxos.node.http.streaming import Pages, Stream
from kvpaxos.paxos.ballot import FIRST_SLOT
from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Count,
    Delete,
    Get,
    Insert,
    Operation,
    Set,
    Update,
)

T = TypeVar("T")

_WRITE: Final = ["POST", "PUT"]


class Routes:
    """Answers the requests of one site.

    :ivar replies: how replies are spelled.
    :ivar limits: the bounds.
    :ivar receipt: tells what a reply rests on that asked nobody.
    """

    router = Klein()

    def __init__(
        self,
        store: Store,
        replies: Replies,
        limits: HttpLimits,
        clock: IReactorTime,
        guard: Guard,
    ) -> None:
        self.replies = replies
        self.limits = limits
        self.receipt = store.receipt
        self._store = store
        self._clock = clock
        self._guard = guard
        self._streams: set[Stream] = set()

    def close(self) -> None:
        """Break off what is being streamed, so that nobody holds a view any more."""
        for stream in list(self._streams):
            stream.break_off("the node is stopping")

    @router.route("/kv/insert", methods=_WRITE)
    @router.route("/kv/put", methods=_WRITE)
    async def insert(self, request: Request) -> bytes:
        """Store a value under a key that is not there yet."""
        asked = await self._parameters(request)
        return await self._log(request, "insert", Insert(asked.key(), asked.value()), asked)

    @router.route("/kv/update", methods=_WRITE)
    async def update(self, request: Request) -> bytes:
        """Replace the value of a key, and return the old one."""
        asked = await self._parameters(request)
        return await self._log(request, "update", Update(asked.key(), asked.value()), asked)

    @router.route("/kv/delete", methods=["POST", "DELETE"])
    async def delete(self, request: Request) -> bytes:
        """Remove a key, and return its value."""
        asked = await self._parameters(request)
        return await self._log(request, "delete", Delete(asked.key()), asked)

    @router.route("/kv/set", methods=_WRITE)
    async def set(self, request: Request) -> bytes:
        """Store a value under a key, whether it is there or not."""
        asked = await self._parameters(request)
        return await self._log(request, "set", Set(asked.key(), asked.value()), asked)

    @router.route("/kv/cas", methods=_WRITE)
    async def cas(self, request: Request) -> bytes:
        """Store a value if the key holds what is expected."""
        asked = await self._parameters(request)
        operation = CompareAndSet(asked.key(), asked.expect(), asked.value())
        return await self._log(request, "cas", operation, asked)

    @router.route("/kv/append", methods=["POST"])
    async def append(self, request: Request) -> bytes:
        """Add to a value, or create it, and return what it is now."""
        asked = await self._parameters(request)
        return await self._log(request, "append", Append(asked.key(), asked.value()), asked)

    @router.route("/kv/get", methods=["GET"])
    async def get(self, request: Request) -> bytes:
        """Return the value of a key."""
        asked = await self._parameters(request)
        key, stale = asked.key(), asked.stale()
        if asked.identity() is not None:
            return await self._log(request, "get", Get(key), asked)
        receipt = await self._store.read(stale=stale, timeout_s=asked.timeout_s())
        entry = self._store.get(key)
        if entry is None:
            return request.reply(self.replies.undone("get", "missing", None), receipt)
        return request.reply(self.replies.done("get", entry.value), receipt)

    @router.route("/kvman/countkey", methods=["GET"])
    async def countkey(self, request: Request) -> bytes:
        """Return how many keys there are."""
        asked = await self._parameters(request)
        if asked.identity() is not None:
            return await self._log(request, "count", Count(), asked)
        receipt = await self._store.read(stale=False, timeout_s=asked.timeout_s())
        return request.reply(self.replies.done("count", b"%d" % self._store.count()), receipt)

    @router.route("/kvman/dump", methods=["GET"])
    async def dump(self, request: Request) -> bytes:
        """Stream all pairs, or a page of them, in the order of keys."""
        asked = await self._parameters(request)
        if asked.identity() is not None:
            raise BadRequest("a dump is never answered again: leave opid and requestid out")
        after = asked.after()
        limit = asked.whole("limit", least=1)
        receipt = await self._store.read(stale=False, timeout_s=asked.timeout_s())
        self._check_streams()
        request.begin(receipt)
        if request.method != b"HEAD":
            view = self._store.view()
            await self._stream(request, Dump(view, after=after, limit=limit, limits=self.limits))
        return b""

    @router.route("/kvman/backup", methods=["GET"])
    async def backup(self, request: Request) -> bytes:
        """Stream the whole state, as a backup."""
        self._admit(request)
        asked = await self._parameters(request)
        stale = asked.stale()
        receipt = await self._store.read(stale=stale, timeout_s=asked.timeout_s())
        self._check_streams()
        header, view = self._store.whole()
        pages = Backup(header, view, self.limits)
        request.begin(receipt)
        request.setHeader(b"content-type", OCTETS.encode())
        if request.method == b"HEAD":
            pages.close()
        else:
            await self._stream(request, pages)
        return b""

    @router.route("/kvman/shutdown", methods=["GET", "POST"])
    def shutdown(self, request: Request) -> bytes:
        """Stop the node, once this reply is on its way."""
        self._admit(request)
        if request.method == b"HEAD":
            # Whoever only asks for headers wants nothing to happen.
            raise MethodNotAllowed(["GET", "POST"])
        request.leave_then(self._store.shutdown)
        return request.reply(self.replies.agreed())

    @router.route("/kvman/status", methods=["GET"])
    def status(self, request: Request) -> bytes:
        """Describe the node."""
        return request.reply(told(self._store.status()))

    @router.route("/kvman/limits", methods=["GET"])
    def list_limits(self, request: Request) -> bytes:
        """Return every named limit."""
        return request.reply(told({**asdict(self.limits), **self._store.limits()}))

    @router.route("/openapi.json", methods=["GET"])
    def openapi(self, request: Request) -> bytes:
        """Describe this face to programs."""
        return request.reply(self._description)

    @cached_property
    def _description(self) -> Reply:
        # Not at the top: a node that starts must not wait for what is hardly ever asked for.
        from kvpaxos.node.http.openapi import describe  # noqa: PLC0415

        return told(describe(self.replies.dialect, self.limits))

    @router.route("/kvman/links", methods=["GET"])
    def links(self, request: Request) -> bytes:
        """Describe the links and their switches."""
        self._admit(request)
        return request.reply(told({"links": self._store.links()}))

    @router.route("/kvman/links", methods=["POST"])
    async def switch_links(self, request: Request) -> bytes:
        """Cut, delay, make lossy or heal links, and describe all of them."""
        self._admit(request)
        asked = await self._parameters(request)
        change = LinkChange(
            from_node=asked.text("from"),
            to_node=asked.text("to"),
            state=cast(Literal["up", "cut"] | None, asked.choice("state", ("up", "cut"))),
            delay_s=asked.decimal("delay", most=self.limits.delay_s_max),
            loss=asked.decimal("loss", most=1.0),
        )
        if (change.state, change.delay_s, change.loss) == (None, None, None):
            raise BadRequest("none of state, delay and loss is given")
        return request.reply(told({"links": self._store.set_link(change)}))

    @router.route("/kvman/journal", methods=["GET"])
    async def journal(self, request: Request) -> bytes:
        """Return decided slots, and where to go on."""
        self._admit(request)
        asked = await self._parameters(request)
        from_slot = asked.whole("from", least=FIRST_SLOT) or FIRST_SLOT
        limit = asked.whole("limit", least=1, most=self.limits.journal_slots_max)
        page = await self._store.journal(from_slot, limit or self.limits.journal_slots_default)
        return request.reply(told(page._asdict()))

    @router.route("/healthz", methods=["GET"])
    def healthz(self, request: Request) -> bytes:
        """Say that the process is alive."""
        return request.reply(self.replies.agreed())

    @router.route("/readyz", methods=["GET"])
    def readyz(self, request: Request) -> bytes:
        """Say whether the node answers linearizable reads."""
        unready = self._store.ready()
        if unready is not None:
            raise Unavailable(unready)
        return request.reply(self.replies.agreed())

    @router.handle_errors(MethodNotAllowed)
    def _method(self, request: IRequest, failure: Failure) -> bytes:
        assert isinstance(request, Request)
        assert isinstance(failure.value, MethodNotAllowed)
        if request.method != b"OPTIONS":
            return request.fail(failure)
        return request.reply_empty(allow(failure.value))

    @router.handle_errors(Exception)
    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        assert isinstance(request, Request)
        return request.fail(failure)

    async def _parameters(self, request: Request) -> Parameters:
        body = request.take_body()
        asked = Parameters(self.limits, query=request.query())
        if not body:
            return asked
        if request.getHeader(b"content-encoding") not in {None, b"identity"}:
            raise BadRequest("the body is compressed, which no parameter here may be")
        content_type = request.getHeader(b"content-type") or b""
        for _ in asked.read_body(content_type, body):
            # A long one is read in several turns: no heartbeat must wait for all of it.
            await deferLater(self._clock, 0)
        return asked

    async def _log(
        self, request: Request, verb: Verb, operation: Operation, asked: Parameters
    ) -> bytes:
        """Have ``operation`` decided and executed, and reply with what came of it."""
        identity = asked.identity()
        # Klein cancels what a handler waits for when its client hangs up. A
        # write under way must not end by that: nobody could say how it ended.
        written = await shielded(
            self._store.write(operation, identity, timeout_s=asked.timeout_s())
        )
        result = written.result
        error: Exception
        match result.outcome:
            case "ok":
                return request.reply(self.replies.done(verb, result.value), written.receipt)
            case "exists" | "missing" | "differs":
                undone = self.replies.undone(verb, result.outcome, result.value)
                return request.reply(undone, written.receipt)
            case "stale":
                return request.reply(self.replies.stale(verb, identity), written.receipt)
            case "reused":
                error = BadRequest(reused(identity))
            case "too_large":
                error = TooLarge(
                    f"the value that would come of it has more than {self.limits.value_bytes_max}"
                    f" bytes, or the key more than {self.limits.key_bytes_max}"
                )
            case "invalid":
                error = BadRequest("the cluster does not know this operation")
            case _:
                assert_never(result.outcome)
        return request.fail(Failure(error), written.receipt)

    def _check_streams(self) -> None:
        if len(self._streams) >= self.limits.dumps_max:
            raise Unavailable(f"{self.limits.dumps_max} dumps are under way already")

    def _stream(self, request: Request, pages: Pages) -> Deferred[None]:
        stream = Stream(
            request,
            pages,
            limits=self.limits,
            clock=self._clock,
            closed=self._streams.discard,
        )
        self._streams.add(stream)
        return stream.run()

    def _admit(self, request: Request) -> None:
        self._guard.admit(request.getClientAddress(), request.requestHeaders)


def shielded(awaited: Deferred[T]) -> Deferred[T]:
    """Return a Deferred that fires as ``awaited`` does; to cancel it leaves ``awaited`` alone."""
    shield: Deferred[T] = Deferred()
    awaited.addCallbacks(shield.callback, shield.errback)
    return shield
