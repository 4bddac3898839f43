"""What fuzzing found, or began with, and what a few flipped bytes make of it: none of it is a finding any more."""

import random
from pathlib import Path

import pytest
from fuzz.harnesses import HARNESSES

CORPUS = Path(__file__).parents[3] / "fuzz" / "corpus"
FLIPPED = 12
SLOW = {"description": 1, "playout": 3}
"""How many flipped copies of an input are tried, where one takes more than a millisecond."""


def test_every_parser_has_a_corpus_and_every_corpus_its_parser() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(HARNESSES)


@pytest.mark.parametrize("name", HARNESSES)
def test_the_corpus_and_what_is_near_it_finds_nothing(name: str) -> None:
    chance = random.Random(name)
    for file in sorted((CORPUS / name).iterdir()):
        data = file.read_bytes()
        HARNESSES[name](data)
        for _ in range(SLOW.get(name, FLIPPED)):
            HARNESSES[name](flipped(data, chance))


def flipped(data: bytes, chance: random.Random) -> bytes:
    """`data` with some bytes changed, cut off or repeated."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 8)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    start = chance.randrange(len(changed) + 1)
    return bytes(chance.choice([changed, changed[:start], changed + changed[start:]]))
