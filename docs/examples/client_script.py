"""A script that counts words into a cluster, by the client that blocks.

python docs/examples/client_script.py http://127.0.0.1:8801 http://127.0.0.1:8802 < text
"""

# ruff: noqa: INP001, T201  (a script, which is there to print)

from __future__ import annotations

import sys
from collections import Counter

from kvpaxos.client import BlockingClient
from kvpaxos.errors import KeyExists, KvPaxosError, ValueDiffers


def add(client: BlockingClient, key: str, number: int) -> None:
    """Add ``number`` to what ``key`` holds, whoever else does so at the same time."""
    while True:
        answer = client.get(key)
        now = None if answer is None else answer.value
        try:
            client.cas(key, now, str(int(now or 0) + number))
        except (KeyExists, ValueDiffers):
            continue
        return


def main() -> None:
    """Count, and print the total of each word that was read."""
    counted = Counter(sys.stdin.read().split())
    with BlockingClient(sys.argv[1:]) as client:
        for word, number in sorted(counted.items()):
            add(client, f"words/{word}", number)
        for key, value in client.dump(after="words/"):
            if key.startswith(b"words/"):
                print(key.decode().removeprefix("words/"), value.decode())


if __name__ == "__main__":
    try:
        main()
    except KvPaxosError as error:
        sys.exit(str(error))
