"""Names made by others move no cursor, turn no text round and break no line where shown."""

import doctest
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmill import terminal
from cellmill.contract.progress import Progress
from cellmill.errors import BadInput, CellmillError
from cellmill.terminal import printable, say

#: Clears the screen, sets a title, rings; right-to-left override, isolates; C1; separators.
HOSTILE = "a\x1b[2J\x1b]0;t\x07b\u202egnp\u2066\u2069\u200f\x9bc\u2028\u2029\r\n\t\x00d\udc80"


def is_harmless(text: str) -> bool:
    return all(
        letter in "\u200c\u200d"
        or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        for letter in text
    )


@given(st.text(st.characters()))
def test_what_is_shown_is_harmless_and_what_is_harmless_is_shown_as_it_is(text):
    shown = printable(text)
    assert is_harmless(shown)
    assert (shown == text) == is_harmless(text)
    assert printable(shown) == shown
    shown.encode()


def test_errors_are_one_harmless_line(capsys):
    for error in (
        BadInput(f"image '{HOSTILE}'", expected="pixels", found=f"'{HOSTILE}'"),
        CellmillError(HOSTILE),
    ):
        assert is_harmless(str(error))
        say(f"cellmill: {error}")
        assert capsys.readouterr().out.count("\n") == 1


def test_a_line_is_said_escaped(capsys):
    say(f"{HOSTILE}: 3 nuclei")
    said = capsys.readouterr().out
    assert said.endswith("d\\udc80: 3 nuclei\n")
    assert is_harmless(said[:-1])


def test_progress_shows_names_escaped():
    log = io.StringIO()
    with Progress(HOSTILE, 2, stream=log) as progress:
        progress.note(f"loss 0.5 {HOSTILE}")
        progress.advance(2)
    assert log.getvalue().endswith("\n")
    assert is_harmless(log.getvalue()[:-1])
    assert "; loss 0.5 " in log.getvalue()


@pytest.mark.parametrize(
    "text", ["Zellkern ä.tif", "細胞.tif", "نواة.tif", "می\u200cخواهم", "👩\u200d🔬"]
)
def test_any_script_is_shown_as_it_is(text):
    assert printable(text) == text


def test_the_example_is_true():
    assert doctest.testmod(terminal).attempted
    assert doctest.testmod(terminal).failed == 0
