"""What an operator may choose about the stage."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """`loopback`: offer 127.0.0.1 beside the host's other addresses, for a machine without a network."""

    loopback: bool = True
