"""Fuzzing of what strangers can send. `harnesses` has the targets, `run` drives them with atheris, `corpus` keeps what
was worth keeping; `tests/unit/test_corpora.py` plays that back in the ordinary suite."""
