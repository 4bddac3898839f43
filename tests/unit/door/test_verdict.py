from rostra.door.verdict import Arrival, Decision, decide


def test_whoever_comes_is_admitted() -> None:
    assert decide(Arrival("talk", 0)).decision is Decision.ADMIT
    assert decide(Arrival("talk", 1_000_000)).decision is Decision.ADMIT
