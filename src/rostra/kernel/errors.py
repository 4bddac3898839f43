"""Errors, split by who is wrong.

Each carries a stable code for programs, a sentence for a person, and a hint that says what to do. A broken invariant is
none of these: it is an assertion, and the supervisor restarts the process.
"""


class RostraError(Exception):
    """Base of the tree; `exit_code` is what the command line ends with (DESIGN 15)."""

    exit_code = 1

    def __init__(self, code: str, sentence: str, hint: str = "") -> None:
        super().__init__(f"{sentence} {hint}".strip())
        self.code = code
        self.sentence = sentence
        self.hint = hint


class PeerError(RostraError):
    """Whoever sent this request or typed this command asked for something that cannot be done."""

    exit_code = 2


class OperatorError(RostraError):
    """The machine or its configuration is not as Rostra needs it; the operator can mend it."""

    exit_code = 3


class Unavailable(RostraError):
    """Something that should answer does not, for now; trying again may help."""

    exit_code = 3
