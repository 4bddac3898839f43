"""What an operator may choose about the stage."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """How a stage reaches the network.

    `loopback`: offer 127.0.0.1 beside the host's other addresses, for a machine without a network. `addresses`: the
    host's addresses to use; empty: all. `public_addresses`: what a 1:1 NAT or a port forward before this machine is
    called outside, one a family. `udp_ports`: first and last port that every stage takes its ports from; None: any.
    """

    loopback: bool = True
    addresses: tuple[str, ...] = ()
    public_addresses: tuple[str, ...] = ()
    udp_ports: tuple[int, int] | None = None
