"""Everything that kvpaxos.client does, in one walk, against a cluster that runs.

make run                                      # in another terminal, or: kvpaxos up
python docs/examples/client_tour.py [address of a node ...]
"""

# ruff: noqa: INP001, T201  (a script, which is there to print)

from __future__ import annotations

import sys
from uuid import uuid4

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import react

from kvpaxos.client import Client
from kvpaxos.errors import KeyExists, KeyMissing, KvPaxosError, ValueDiffers

NODES = ("http://127.0.0.1:8801", "http://127.0.0.1:8802", "http://127.0.0.1:8803")

MANY = 100


async def tour(nodes: list[str]) -> None:
    """Use every call once; a cluster that holds something else keeps it."""
    try:
        async with Client(nodes, timeout_s=10.0) as client:
            await clear(client)
            await write_and_read(client)
            await compare_and_set(client)
            await write_many(client)
            await look_at_everything(client)
            await clear(client)
    except KvPaxosError as error:
        raise SystemExit(str(error)) from None


async def write_and_read(client: Client) -> None:
    """Write in every way, and read what came of it."""
    written = await client.insert("tour/color", "blue")
    print("insert:", "logged" if written.receipt.read == "logged" else written.receipt)

    try:
        await client.insert("tour/color", "red")
    except KeyExists as error:
        print("insert again:", error, f"(applied: {error.applied})")

    print("update, from:", (await client.update("tour/color", "green")).text)
    print("append, to:", (await client.append("tour/color", " and white")).text)
    await client.set("tour/bytes", b"\xff\x00")

    answer = await client.get("tour/color")
    assert answer is not None
    print("get:", answer.text, f"(read: {answer.receipt.read})")

    answer = await client.get("tour/bytes", stale=True)
    print("stale get:", "not there yet" if answer is None else answer.value)

    print("get of nothing:", await client.get("tour/nothing"))
    print("delete, of:", (await client.delete("tour/bytes")).value)


async def compare_and_set(client: Client) -> None:
    """Add to a number without losing what others add to it: read, and write if it is unchanged."""

    async def increment() -> None:
        while True:
            answer = await client.get("tour/number")
            now = None if answer is None else answer.value
            try:
                await client.cas("tour/number", now, str(int(now or 0) + 1))
            except (KeyExists, KeyMissing, ValueDiffers):
                continue
            return

    await gatherResults([Deferred.fromCoroutine(increment()) for _ in range(5)])
    answer = await client.get("tour/number")
    assert answer is not None
    print("five increments:", answer.text)


async def write_many(client: Client) -> None:
    """Have many writes under way at once, and one twice that is carried out once."""
    await gatherResults([client.set(f"tour/many/{number:03}", "v") for number in range(MANY)])

    # Any text that is this order's and no other's: a program that was restarted, and does not
    # know what it had done before, sends the same again.
    order = f"order {uuid4()}"
    await client.append("tour/orders", "book,", requestid=order)
    again = await client.append("tour/orders", "book,", requestid=order)
    print("ordered twice, with one request id:", again.text)


async def look_at_everything(client: Client) -> None:
    """Count, and read all pairs of one moment, or page by page."""
    print("are there more than those keys?", await client.count() > MANY)

    async with client.dump(after="tour/many/", limit=3) as pairs:
        async for key, value in pairs:
            print("dump:", key.decode(), value.decode())

    several = [key async for key, _ in client.dump(after="tour/many/", limit=MANY, page=30)]
    print("in pages:", len(several), "keys from", several[0].decode(), "on")

    status = await client.status()
    print("some node is", "leading" if status["role"] == "leading" else "following")


async def clear(client: Client) -> None:
    """Remove what a tour leaves behind."""
    keys = [key async for key, _ in client.dump(after="tour/") if key.startswith(b"tour/")]
    await gatherResults([client.delete(key) for key in keys])


def run(reactor: IReactorTime, *nodes: str) -> Deferred[None]:
    """Do the tour, for `react`."""
    del reactor
    return Deferred.fromCoroutine(tour(list(nodes or NODES)))


if __name__ == "__main__":
    react(run, sys.argv[1:])
