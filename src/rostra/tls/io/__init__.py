"""Sockets, certificates on disk, and the authority that signs them."""
