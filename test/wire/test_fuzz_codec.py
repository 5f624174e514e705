"""Mutations of true bytes, and mutations of those that pass: nothing but `WireError` escapes."""

from __future__ import annotations

import os
from random import Random
from typing import Final

from kvpaxos.wire.framing import frame
from test.wire.fuzz_codec import check, check_stream, true_bytes

ROUNDS: Final = int(os.environ.get("KVPAXOS_FUZZ") or 20_000)
CORPUS_MAX: Final = 2000
"""What passes is mutated further, up to so many."""

BYTES_MAX: Final = 2000

MARKS: Final = bytes([0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, *range(0xC0, 0xE0), 0xFF])
"""The bytes that mean most to MessagePack."""

LIES: Final = (b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdf\x00\x01\x00\x00", b"\xdb\xff")
"""Lengths of things that are not there."""


def mutated(corpus: list[bytes], random: Random) -> bytes:
    """Return one of ``corpus``, with one to four changes."""
    data = bytearray(random.choice(corpus))
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(data))
        end = min(len(data), at + random.choice((0, 1, 1, 2, 4, 16)))
        match random.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1:
                data[at : at + 1] = bytes([random.choice(MARKS)])
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end] * random.randint(1, 8)
            case 4:
                other = random.choice(corpus)
                data[at:] = other[random.randint(0, len(other)) :]
            case 5:
                data[at:at] = random.choice(LIES)
            case _:
                data[at:end] = random.randbytes(end - at)
    return bytes(data[:BYTES_MAX])


def test_any_mutation_is_refused_or_can_be_written() -> None:
    random = Random(os.environ.get("KVPAXOS_SEED") or 0)
    corpus = true_bytes()
    assert all(check(one) for one in corpus)
    taken = 0
    for _ in range(ROUNDS):
        data = mutated(corpus, random)
        if check(data):
            taken += 1
            if len(corpus) < CORPUS_MAX:
                corpus.append(data)
    # Neither all nor none: it would be the fuzzer that is broken.
    assert ROUNDS / 100 < taken < ROUNDS / 2


def test_it_makes_no_difference_how_a_mutated_stream_arrives() -> None:
    random = Random(os.environ.get("KVPAXOS_SEED") or 0)
    frames = [frame(one) for one in true_bytes()]
    for _ in range(ROUNDS // 20):
        stream = b"".join(random.choices(frames, k=random.randint(1, 4)))
        check_stream(stream, random.randint(1, 20))
        check_stream(mutated([stream], random), random.randint(1, 20))
