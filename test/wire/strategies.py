"""What hypothesis needs to make any message and any record."""

from typing import Final

from hypothesis import strategies as st

from kvpaxos.paxos import messages, records
from kvpaxos.paxos.ballot import ROUND_MAX, Ballot, NodeId, Slot
from kvpaxos.wire.table import COUNT_MAX

counts = st.integers(0, COUNT_MAX)
slots = counts.map(Slot)
names = st.text(max_size=8).map(NodeId)
instants = st.floats(allow_nan=False)
ballots = st.builds(Ballot, st.integers(0, ROUND_MAX), names)
commands = st.builds(messages.Command, names, counts, counts, counts, st.binary(max_size=40))
batches = st.lists(commands, max_size=4).map(tuple)
votes = st.builds(messages.Vote, slots, ballots, batches)
octets = st.binary(max_size=40)
incarnations = st.lists(st.tuples(names, counts), max_size=3).map(tuple)
healths = st.builds(messages.Health, ballots, st.booleans(), slots, slots, slots)

MESSAGES: Final[dict[type[messages.Message], st.SearchStrategy[messages.Message]]] = {
    messages.Prepare: st.builds(messages.Prepare, ballots, slots),
    messages.Accept: st.builds(messages.Accept, ballots, slots, batches, slots),
    messages.Watermark: st.builds(messages.Watermark, ballots, slots),
    messages.Ping: st.builds(messages.Ping, healths, instants),
    messages.Forward: st.builds(messages.Forward, batches, counts),
    messages.CatchUp: st.builds(messages.CatchUp, slots, slots),
    messages.AskReadSlot: st.builds(messages.AskReadSlot, counts),
    messages.Confirm: st.builds(messages.Confirm, ballots, counts),
    messages.TakeOver: st.builds(messages.TakeOver, ballots),
    messages.Withdraw: st.builds(messages.Withdraw, ballots),
    messages.Rejoin: st.builds(messages.Rejoin, counts),
    messages.AskState: st.builds(messages.AskState, counts, octets),
    messages.StateDigest: st.builds(messages.StateDigest, counts, octets),
    messages.Chosen: st.builds(messages.Chosen, ballots, slots, healths, instants),
    messages.Promise: st.builds(
        messages.Promise,
        ballots,
        st.lists(votes, max_size=3).map(tuple),
        slots,
        slots,
        counts,
        counts,
        incarnations,
    ),
    messages.Accepted: st.builds(messages.Accepted, ballots, slots, incarnations),
    messages.Nack: st.builds(messages.Nack, ballots, ballots),
    messages.Pong: st.builds(messages.Pong, healths, instants),
    messages.Decided: st.builds(messages.Decided, slots, st.lists(batches, max_size=3).map(tuple)),
    messages.ReadSlot: st.builds(messages.ReadSlot, counts, ballots, slots),
    messages.Confirmed: st.builds(messages.Confirmed, ballots, counts),
    messages.Report: st.builds(messages.Report, counts, ballots, slots),
    messages.StatePiece: st.builds(
        messages.StatePiece,
        counts,
        octets,
        slots,
        octets,
        st.lists(st.tuples(octets, octets), max_size=3).map(tuple),
    ),
    messages.NoState: st.builds(messages.NoState, counts),
}
"""One strategy for each class of message."""

RECORDS: Final[dict[type[records.Record], st.SearchStrategy[records.Record]]] = {
    records.Promised: st.builds(records.Promised, ballots),
    messages.Vote: votes,
    records.DecidedThrough: st.builds(records.DecidedThrough, slots, ballots),
    records.Learned: st.builds(records.Learned, slots, batches),
    records.Forming: st.builds(
        records.Forming, st.text(max_size=40), names, st.lists(names, max_size=5).map(tuple), counts
    ),
    records.Formed: st.builds(records.Formed, st.text(max_size=40)),
    records.Started: st.builds(records.Started, counts),
    records.Installed: st.builds(records.Installed, slots),
    records.Renewed: st.builds(records.Renewed, names, counts),
    records.Seen: st.builds(records.Seen, names, counts, counts, st.text(), counts, st.text()),
    records.Rejoined: st.builds(records.Rejoined, counts),
}
"""One strategy for each class of record."""

any_message = st.one_of(*MESSAGES.values())
any_record = st.one_of(*RECORDS.values())
