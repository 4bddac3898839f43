"""Bounds of a worker, each with the reason for its value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """How a worker divides its time and its memory."""

    slice_ms: int = 4
    """Sound is written for this long before arrivals and departures are looked at: some 300 sends of 12 µs."""

    arrivals_per_turn: int = 256
    """At 15 to 30 µs each this is about one slice, so that arrivals never take more time than the listeners have."""

    poll_ms: int = 25
    """How often the log is asked for new fragments while somebody listens. It adds half of this to the delay."""

    look_ms: int = 200
    """How often the journal and the state of a Space in use are looked at."""

    idle_ms: int = 250
    """How long the loop sleeps at most, so that the heartbeat stays young."""

    send_buffer_bytes: int = 49_152
    """The kernel doubles this. It holds the largest burst (eight AAC fragments, 46 kB) and bounds what a reader that
    stops can pin: left alone, the kernel lets one pin 4 MB (DESIGN 4)."""

    receive_buffer_bytes: int = 16_384
    """Twice the largest request: whatever else a client sends stays on its own side."""

    user_timeout_ms: int = 45_000
    """A listener who vanished without a word is given up when nothing was acknowledged for this long; a phone that
    changes from one network to the next is back within it."""

    patience_fragments: int = 2
    """A reader this far behind is still sent every fragment; one further behind jumps to the live edge."""

    burst_fragments_max: int = 8
    """More than this was missed by the worker itself (it was stopped, or starved): older ones are skipped, and said
    to be, because they would overflow every send buffer at once."""

    hopeless_ms: int = 30_000
    """A laggard that has not been at the live edge for this long is let go."""

    lost_ms: int = 2000
    """Without a new fragment for this long the listeners are told that the programme is lost: three fragments late."""

    finished_ms: int = 1000
    """After the end no fragment came for this long: that was the last one. Longer than a fragment and its encoding."""

    count_ms: int = 5000
    """How often the number of listeners is told at most."""

    head_ms: int = 5000
    """A request must be whole this long after its first byte."""

    keep_alive_ms: int = 10_000
    """A page asks for its parts within this, and for nothing afterwards."""

    response_ms: int = 30_000
    """A response nothing was taken of for this long is given up."""

    conversations_max: int = 4096
    """Connections that do not listen (pages, state, replays, requests not yet whole); the oldest makes way."""

    transfers_max: int = 256
    """Replays served at once: each holds two files open."""

    transfer_bytes: int = 131_072
    """A replay's share of a turn: 16 s of sound at 64 kbit/s."""

    descriptors_full: float = 0.97
    """Of the descriptor limit: here the worker stops listening, so that nobody is hashed to it in vain."""

    descriptors_free: float = 0.90
    """Here it listens again."""
