"""The paths of the HTTP face, and what each of them asks of the node."""

# mypy: allow-untyped-calls
# The methods of a twisted.web request have no annotations.

from __future__ import annotations

from dataclasses import asdict
from ipaddress import ip_address
from typing import Final, Literal, TypeVar, assert_never, cast

from klein import Klein
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.iweb import IRequest
from werkzeug.exceptions import MethodNotAllowed

from kvpaxos.errors import BadRequest, Forbidden, TooLarge, Unavailable
from kvpaxos.node.http.connection import Request
from kvpaxos.node.http.dump import Dump
from kvpaxos.node.http.failures import allow
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.parameters import Parameters
from kvpaxos.node.http.replies import Replies, Verb, to_json
from kvpaxos.node.http.store import LinkChange, Store
from kvpaxos.paxos.ballot import FIRST_SLOT
from kvpaxos.store.commands import Append, CompareAndSet, Delete, Insert, Operation, Set, Update
from kvpaxos.store.results import Outcome

T = TypeVar("T")

_WRITE: Final = ["POST", "PUT"]


class Routes:
    """Answers the requests of one site.

    :ivar replies: how replies are spelled.
    :ivar limits: the bounds.
    """

    router = Klein()

    def __init__(
        self,
        store: Store,
        replies: Replies,
        limits: HttpLimits,
        clock: IReactorTime,
        *,
        open_to_all: bool,
    ) -> None:
        self.replies = replies
        self.limits = limits
        self._store = store
        self._clock = clock
        self._open_to_all = open_to_all
        self._dumps: set[Dump] = set()

    def close(self) -> None:
        """Break off the dumps under way, so that nobody holds a view any more."""
        for dump in list(self._dumps):
            dump.break_off("the node is stopping")

    @router.route("/kv/insert", methods=_WRITE)
    @router.route("/kv/put", methods=_WRITE)
    async def insert(self, request: Request) -> bytes:
        """Store a value under a key that is not there yet."""
        asked = self._parameters(request)
        return await self._write(request, "insert", Insert(asked.key(), asked.value()), asked)

    @router.route("/kv/update", methods=_WRITE)
    async def update(self, request: Request) -> bytes:
        """Replace the value of a key, and return the old one."""
        asked = self._parameters(request)
        return await self._write(request, "update", Update(asked.key(), asked.value()), asked)

    @router.route("/kv/delete", methods=["POST", "DELETE"])
    async def delete(self, request: Request) -> bytes:
        """Remove a key, and return its value."""
        asked = self._parameters(request)
        return await self._write(request, "delete", Delete(asked.key()), asked)

    @router.route("/kv/set", methods=_WRITE)
    async def set(self, request: Request) -> bytes:
        """Store a value under a key, whether it is there or not."""
        asked = self._parameters(request)
        return await self._write(request, "set", Set(asked.key(), asked.value()), asked)

    @router.route("/kv/cas", methods=_WRITE)
    async def cas(self, request: Request) -> bytes:
        """Store a value if the key holds what is expected."""
        asked = self._parameters(request)
        operation = CompareAndSet(asked.key(), asked.expect(), asked.value())
        return await self._write(request, "cas", operation, asked)

    @router.route("/kv/append", methods=["POST"])
    async def append(self, request: Request) -> bytes:
        """Add to a value, or create it, and return what it is now."""
        asked = self._parameters(request)
        return await self._write(request, "append", Append(asked.key(), asked.value()), asked)

    @router.route("/kv/get", methods=["GET"])
    async def get(self, request: Request) -> bytes:
        """Return the value of a key."""
        asked = self._parameters(request)
        key = asked.key()
        request.sign(await self._store.read(stale=asked.stale(), timeout_s=asked.timeout_s()))
        entry = self._store.get(key)
        if entry is None:
            return self._conclude(request, "get", "missing", None)
        return self._conclude(request, "get", "ok", entry.value)

    @router.route("/kvman/countkey", methods=["GET"])
    async def countkey(self, request: Request) -> bytes:
        """Return how many keys there are."""
        timeout_s = self._parameters(request).timeout_s()
        request.sign(await self._store.read(stale=False, timeout_s=timeout_s))
        return request.reply(self.replies.count(self._store.count()))

    @router.route("/kvman/dump", methods=["GET"])
    async def dump(self, request: Request) -> bytes:
        """Stream all pairs, or a page of them, in the order of keys."""
        asked = self._parameters(request)
        after = asked.after()
        limit = asked.whole("limit", least=1)
        request.sign(await self._store.read(stale=False, timeout_s=asked.timeout_s()))
        if len(self._dumps) >= self.limits.dumps_max:
            raise Unavailable(f"{self.limits.dumps_max} dumps are under way already")

        request.begin()
        if request.method != b"HEAD":
            dump = Dump(
                request,
                self._store.view(),
                after=after,
                limit=limit,
                limits=self.limits,
                clock=self._clock,
                closed=self._dumps.discard,
            )
            self._dumps.add(dump)
            await dump.run()
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
        return request.reply(to_json(self._store.status()))

    @router.route("/kvman/limits", methods=["GET"])
    def list_limits(self, request: Request) -> bytes:
        """Return every named limit."""
        return request.reply(to_json({**asdict(self.limits), **self._store.limits()}))

    @router.route("/kvman/links", methods=["GET"])
    def links(self, request: Request) -> bytes:
        """Describe the links and their switches."""
        self._admit(request)
        return request.reply(to_json({"links": self._store.links()}))

    @router.route("/kvman/links", methods=["POST"])
    def switch_links(self, request: Request) -> bytes:
        """Cut, delay, make lossy or heal links, and describe all of them."""
        self._admit(request)
        asked = self._parameters(request)
        change = LinkChange(
            from_node=asked.text("from"),
            to_node=asked.text("to"),
            state=cast(Literal["up", "cut"] | None, asked.choice("state", ("up", "cut"))),
            delay_s=asked.decimal("delay", most=self.limits.delay_s_max),
            loss=asked.decimal("loss", most=1.0),
        )
        if (change.state, change.delay_s, change.loss) == (None, None, None):
            raise BadRequest("none of state, delay and loss is given")
        return request.reply(to_json({"links": self._store.set_link(change)}))

    @router.route("/kvman/journal", methods=["GET"])
    async def journal(self, request: Request) -> bytes:
        """Return decided slots."""
        self._admit(request)
        asked = self._parameters(request)
        from_slot = asked.whole("from", least=FIRST_SLOT) or FIRST_SLOT
        limit = asked.whole("limit", least=1, most=self.limits.journal_slots_max)
        slots = await self._store.journal(from_slot, limit or self.limits.journal_slots_default)
        return request.reply(to_json({"slots": slots}))

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
        request.setResponseCode(http.NO_CONTENT)
        for name, value in allow(failure.value):
            request.setHeader(name, value)
        return b""

    @router.handle_errors(Exception)
    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        assert isinstance(request, Request)
        return request.fail(failure)

    def _parameters(self, request: Request) -> Parameters:
        body = request.take_body()
        if not body:
            return Parameters(self.limits, query=request.query())
        if request.getHeader(b"content-encoding") not in {None, b"identity"}:
            raise BadRequest("the body is compressed, which no parameter here may be")
        return Parameters(
            self.limits,
            query=request.query(),
            content_type=request.getHeader(b"content-type") or b"",
            body=body,
        )

    async def _write(
        self, request: Request, verb: Verb, operation: Operation, asked: Parameters
    ) -> bytes:
        # Klein cancels what a handler waits for when its client hangs up. A
        # write under way must not end by that: nobody could say how it ended.
        written = await shielded(self._store.write(operation, timeout_s=asked.timeout_s()))
        request.sign(written.receipt)
        return self._conclude(request, verb, written.result.outcome, written.result.value)

    def _conclude(
        self, request: Request, verb: Verb, outcome: Outcome, value: bytes | None
    ) -> bytes:
        match outcome:
            case "ok":
                status, body = self.replies.done(verb, value)
            case "exists" | "missing" | "differs":
                status, body = self.replies.undone(verb, outcome, value)
            case "too_large":
                raise TooLarge("the key, or the value that would come of it, is over its limit")
            case "invalid":
                raise BadRequest("the cluster does not know this operation")
            case _:
                assert_never(outcome)
        return request.reply(body, status=status)

    def _admit(self, request: Request) -> None:
        """Refuse callers from other machines, and web pages that are not this site's.

        :raises Forbidden: the caller is one of them.
        """
        if not self._open_to_all and not is_local(request.getClientAddress()):
            raise Forbidden("this path answers callers on the node's own machine only")
        # A page from anywhere can have the browser on this machine ask for
        # this path; browsers say so here.
        if request.getHeader(b"sec-fetch-site") in {b"cross-site", b"same-site"}:
            raise Forbidden("this path answers no web pages of other sites")


def is_local(address: IAddress) -> bool:
    """Return whether ``address`` belongs to a process on this machine."""
    match address:
        case UNIXAddress():
            return True
        case IPv4Address() | IPv6Address():
            # Without the zone that a link-local address may carry. A socket
            # for both families shows IPv4 callers as ::ffff:127.0.0.1.
            ip = ip_address(address.host.partition("%")[0])
            return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
        case _:
            return False


def shielded(awaited: Deferred[T]) -> Deferred[T]:
    """Return a Deferred that fires as ``awaited`` does; to cancel it leaves ``awaited`` alone."""
    shield: Deferred[T] = Deferred()
    awaited.addCallbacks(shield.callback, shield.errback)
    return shield
