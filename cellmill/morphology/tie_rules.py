"""Which of two equal pixels a flood takes first."""

from __future__ import annotations

from typing import Literal, get_args

#: `local`: fewer steps along the level decide, then the smaller id; the same however an image is
#: cut up. `reference`: scikit-image 0.25.2's order, which depends on the whole image.
TieRule = Literal["local", "reference"]
TIE_RULES: tuple[TieRule, ...] = get_args(TieRule)
