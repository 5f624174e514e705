"""What a call brings back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an answer rests on.

    :ivar node: the address of the node that gave it.
    :ivar slot: the slot of the log that carried the write out, or the last one that was applied
        when a read was answered; 0 if the node told none.
    :ivar leader: the name of the node that leads, or the empty string if none was known.
    :ivar read: what makes sure that the answer is not stale: ``quorum``, ``lease``, ``read_lease``
        or ``logged``; ``stale`` if nothing does.
    """

    node: str
    slot: int
    leader: str
    read: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request for one key brought.

    :ivar value: what a get found; what an update or a delete took away; what an append made. None
        after the others, and where the replies of the cluster leave it out.
    """

    value: bytes | None
    receipt: Receipt

    @property
    def text(self) -> str:
        """The value as text.

        :raises ValueError: there is no value, or it is not UTF-8.
        """
        if self.value is None:
            raise ValueError("the answer has no value")
        return self.value.decode()
