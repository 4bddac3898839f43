"""Practising and running it: configuration, supervision, the command line, and the one place where parts meet."""
