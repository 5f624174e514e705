"""Every bound that the core keeps, and every span of time that it starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MIB = 1024 * 1024

PROMPT_BYTES_MAX: Final = 4 * MIB
"""What is no longer than this is not waited for any longer than what is short."""

HANDLED_BYTES_PER_S: Final = 32 * MIB
"""No node needs longer than this for a command, be it on a busy machine."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one replica holds and sends. Reaching one delays work and loses none.

    :ivar open_slots_max: slots in phase 2 at a time; what arrives meanwhile shares the next.
    :ivar open_bytes_max: with as many bytes in them no further slot is opened.
    :ivar batch_commands_max: commands in one slot.
    :ivar batch_bytes_max: bytes of commands in one slot, though one command always fits.
    :ivar command_bytes_max: the longest command that there can be.
    :ivar queue_commands_max: forwarded commands that a leader holds for a free slot.
    :ivar queue_bytes_max: the same in bytes. What does not fit is sent again by its node.
    :ivar unsettled_max: this node's commands that are on their way into the log.
    :ivar ahead_slots_max: how far beyond the decided slots an acceptor votes.
    :ivar recent_bytes_max: decided batches kept in memory for peers that lag a little.
    :ivar recent_commands_max: commands in those: whoever looks for garbage looks at each of them.
    :ivar message_bytes_max: where a promise, a catch-up or a forward is cut into pieces.
    :ivar catch_up_slots_max: decided slots in one catch-up, however small they are.
    :ivar catch_up_commands_max: commands in one, though one slot always fits: whoever is taught
        executes them all at once, and does nothing else meanwhile.
    :ivar hops_max: how often a forwarded command is passed on.
    """

    open_slots_max: int = 8
    open_bytes_max: int = 16 * MIB
    batch_commands_max: int = 1024
    batch_bytes_max: int = MIB
    command_bytes_max: int = 2 * MIB + 8 * 1024
    queue_commands_max: int = 16384
    queue_bytes_max: int = 32 * MIB
    unsettled_max: int = 4096
    ahead_slots_max: int = 128
    recent_bytes_max: int = 32 * MIB
    recent_commands_max: int = 4096
    message_bytes_max: int = 2 * MIB
    catch_up_slots_max: int = 4096
    catch_up_commands_max: int = 256
    hops_max: int = 2


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the measured timeouts start from, in seconds. No user needs to tune these.

    :ivar heartbeat_s: between two heartbeats to each peer.
    :ivar patience_s: the least silence after which a leader counts as gone.
    :ivar backoff_s: the widest random wait of a first candidate; it doubles with each try.
    :ivar retry_s: the least wait before something unanswered is sent again.
    :ivar stuck_s: a disk that has not synced for so long is stuck, a tick so late tells of a pause.
    :ivar hole_s: how long a hole that only a follower told of may close by itself.
    :ivar gather_s: commands that do not fill a slot gather for the next one for less than this
        from when the last was opened. To vote takes less on a local network, and fewer and fuller
        slots less work of everyone; where the way is longer, slots are opened meanwhile.
    :ivar bytes_per_s: what is long is not taken for lost as long as it may travel so slowly.
    """

    heartbeat_s: float = 0.1
    patience_s: float = 0.5
    backoff_s: float = 0.04
    retry_s: float = 0.15
    stuck_s: float = 1.0
    hole_s: float = 0.05
    gather_s: float = 0.01
    bytes_per_s: float = 8 * MIB

    @classmethod
    def of(cls, limits: Limits) -> Timing:
        """Return the times for nodes that handle commands of the length that ``limits`` allow.

        A node that copies, checks and writes a long one hears and says nothing meanwhile, and its
        disk has more to do.
        """
        usual = cls()
        more_s = max(0, limits.command_bytes_max - PROMPT_BYTES_MAX) / HANDLED_BYTES_PER_S
        return replace(usual, patience_s=usual.patience_s + more_s, stuck_s=usual.stuck_s + more_s)

    def transfer_s(self, size: int) -> float:
        """Return how much longer ``size`` bytes may take on their way than a short message."""
        return max(0, size - PROMPT_BYTES_MAX) / self.bytes_per_s
