"""The protocol of the command sockets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.errors import PeerError, Unavailable
from rostra.kernel.limits import COMMAND_BYTES_MAX
from rostra.space import commands

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), json_values, max_size=3), max_size=5), st.data())
def test_messages_come_out_whole_however_the_bytes_are_cut(
    messages: list[dict[str, object]], data: st.DataObject
) -> None:
    stream = b"".join(commands.encode_ok(1, message) for message in messages)
    decoder, out = commands.Decoder(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        out += [commands.result(reply) for reply in decoder.feed(stream[:cut])]
        stream = stream[cut:]
    assert out == messages


def test_an_error_arrives_as_what_it_was() -> None:
    error = Unavailable("stage.away", "The stage is away.", "Try again.")
    (reply,) = commands.Decoder().feed(commands.encode_error(3, error))
    with pytest.raises(Unavailable, match="The stage is away"):
        commands.result(reply)


@pytest.mark.parametrize(
    "data", [(COMMAND_BYTES_MAX + 1).to_bytes(4, "big"), b"\0\0\0\x02{]", b"\0\0\0\x01" + b"1", b"\0\0\0\x01\xff"]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        list(commands.Decoder().feed(data))


def test_a_request_without_its_fields_is_refused() -> None:
    with pytest.raises(PeerError, match="lacks its 'verb'"):
        commands.decode_request({"v": 1, "id": 1, "deadline_ms": 1})


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"v":1,"verb":[],"id":1,"deadline_ms":1}', b'{"v":1,"verb":"arm","id":{},"deadline_ms":1}'],
    ids=["deep", "verb", "id"],
)
def test_what_is_json_and_no_command_is_refused(body: bytes) -> None:
    def read() -> None:
        for message in commands.Decoder().feed(len(body).to_bytes(4, "big") + body):
            commands.decode_request(message)

    with pytest.raises(PeerError) as refused:
        read()
    assert refused.value.code == "command.malformed"


@pytest.mark.parametrize("reply", [{}, {"ok": 3}, {"error": {}}, {"error": "no"}, {"error": {"kind": []}}])
def test_an_answer_that_makes_no_sense_is_as_good_as_none(reply: dict[str, object]) -> None:
    with pytest.raises(Unavailable) as garbled:
        commands.result(reply)
    assert garbled.value.code == "process.garbled"
