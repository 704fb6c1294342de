"""Channels are found by name or number, and never guessed."""

import pytest

from cellmill.arrays.channels import BLANK
from cellmill.errors import BadInput
from cellmill.io.tiff.select import describe, select_channels

NAMES = ("DAPI", "membrane, total", "CD3", "cd3", "405", "1", "µ-tubulin")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("DAPI", [0]),
        ("dapi", [0]),
        (" DAPI , 3 ", [0, 3]),
        ("0,-,2", [0, BLANK, 2]),
        ("-,DAPI", [BLANK, 0]),
        ('"membrane, total",DAPI', [1, 0]),
        ("CD3,cd3", [2, 3]),
        ("405", [4]),
        ("index=1", [1]),
        ("name=1", [5]),
        ("name=dapi,index=0", [0, 0]),
        ("\u03bc-tubulin", [6]),
        ("\u00b5-tubulin", [6]),
    ],
)
def test_select(text, found):
    assert select_channels(text, NAMES, "image 'a'") == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("GFP", "channel 'GFP' of image 'a': expected the name or index of a channel"),
        ("7", "an index from 0 to 6"),
        ("1", "expected index=1 or name=1"),
        ("Cd3", "found channels 2, 3 of that name"),
        ("-", "at least one channel"),
        ("", "at least one channel"),
        ("DAPI,", "channel ''"),
        ('"DAPI', "names or indices"),
        ("-1", "the name or index"),
        ("index=-1", "an index from 0"),
        ("9" * 5000, "the name or index"),
    ],
)
def test_refused(text, message):
    with pytest.raises(BadInput) as error:
        select_channels(text, NAMES, "image 'a'")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_describe():
    assert describe(("0", "GFP")) == "2 channels: 0, 1 'GFP'"
    assert describe(tuple(map(str, range(40)))).endswith("10, 11, …")
