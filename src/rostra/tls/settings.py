"""Bounds of a terminator, each with the reason for its value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """How a terminator divides its time and its memory."""

    handshake_slice_ms: int = 4
    """Of a turn, for handshakes: whatever a flood brings, those who listen are served again after this and one more
    handshake (0.2 ms with an ECDSA key, 1 ms with RSA 2048)."""

    handshakes_max: int = 2048
    """Connections that are not through their handshake, silent ones included: some 30 kB each once they have begun. The
    one that has been at it longest makes way for a new one."""

    handshake_ms: int = 8000
    """From the connection to the end of the handshake: three round trips of a satellite, and a lost packet on each."""

    arrivals_per_turn: int = 128
    """At some 20 µs each this is less than the handshakes' slice."""

    copy_bytes: int = 16_384
    """Taken from one side at a time: a TLS record's size. What the other side does not take is kept, and nothing more
    is read until it has: this is all that a connection ever buffers here, one way."""

    send_buffer_bytes: int = 49_152
    """To the listener: as large as a worker's own, which it stands in for (audience/settings)."""

    worker_buffer_bytes: int = 8192
    """From the worker. Small, because what lies here is late sound that the worker believes to be delivered: it finds
    out that a listener is slow some 16 kB later than without TLS."""

    user_timeout_ms: int = 45_000
    """A listener who vanished without a word is given up, as a worker does."""

    closing_ms: int = 2000
    """After the last byte a client may still be talking; were its connection closed at once, a reset would swallow the
    answer."""

    look_ms: int = 500
    """How often the certificate's files are looked at."""

    idle_ms: int = 250
    """How long the loop sleeps at most, so that the heartbeat stays young."""

    descriptors_full: float = 0.97
    """Of the descriptor limit, of which a listener takes two: here the terminator stops listening."""

    descriptors_free: float = 0.90
    """Here it listens again."""
