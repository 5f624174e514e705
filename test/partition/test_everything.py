"""Links that fail in all ways at once, and restarts, under clients that must see exact values."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from typing_extensions import override

from kvpaxos.errors import ValueDiffers
from test.labs.store import StoreScenario, together, value

RUN_S = 20.0


class EverythingTests(StoreScenario):
    """Clients append, count and read by whichever node they find."""

    count = 5
    clients = 8

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.going = True
        self.restarts = 0
        self.counted = 0
        self.appended: list[list[str]] = [[] for _ in range(self.clients)]
        await self.clerk.set("count", "0")

    async def test_each_write_is_carried_out_once_and_seen_by_all(self) -> None:
        self.group.be_unreliable()
        stop = self.repeatedly(self.cut_at_random, lambda: self.random.uniform(0, 0.5))
        clients = together(self.client(number) for number in range(self.clients))
        trouble = together([self.restart_and_deafen()])
        await self.sleep(RUN_S)
        self.going = False
        stop()
        self.group.heal()
        self.group.be_unreliable(unreliable=False)
        await trouble
        await clients
        appends = sum(map(len, self.appended))
        self.say(f"{appends} appends, {self.counted} counted, {self.restarts} restarts")
        assert self.restarts
        await self.check_all()

    async def check_all(self) -> None:
        """Fail unless all nodes agree, and everything is there once, in its client's order."""
        for key in ("all", "count"):
            await self.equal_everywhere(key)
        assert await value(self.clerk, "count") == str(self.counted)
        found = (await value(self.clerk, "all")).split()
        for number, appended in enumerate(self.appended):
            assert [word for word in found if word.startswith(f"{number}.")] == appended
        assert len(found) == sum(map(len, self.appended))

    def cut_at_random(self) -> None:
        """Cut some directions, so that some nodes hear whom they cannot answer."""
        places = range(self.count)
        ways = [(one, other) for one in places for other in places if one != other]
        self.group.cut(*self.random.sample(ways, self.random.randrange(len(ways) // 4)))

    async def restart_and_deafen(self) -> None:
        """Restart one node while another cannot be dialed, again and again."""
        while self.going:
            restarted, deaf = self.random.sample(range(self.count), 2)
            await self.group.deafen(deaf)
            await self.group.end(restarted)
            # It answers only once it is not cut off.
            beginning = Deferred.fromCoroutine(self.group.begin(restarted))
            await self.sleep(self.random.uniform(0, 0.5))
            await self.group.listen(deaf)
            await beginning
            self.restarts += 1

    async def client(self, number: int) -> None:
        clerk, appended = self.any_order(), self.appended[number]
        own = ""
        while self.going:
            match self.random.randrange(3):
                case 0:
                    word = f"{number}.{len(appended)} "
                    appended.append(word.strip())
                    await clerk.append("all", word)
                    own += word
                    await clerk.append(f"of {number}", word)
                case 1:
                    await self.check(clerk, f"of {number}", own)
                case _:
                    before = await value(clerk, "count")
                    try:
                        await clerk.cas("count", before, str(int(before) + 1))
                    except ValueDiffers:
                        continue
                    self.counted += 1
