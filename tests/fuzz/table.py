"""All parsers of what comes from outside, in one table."""

from __future__ import annotations

from typing import Final

from tests.fuzz.from_mirrors import FROM_MIRRORS
from tests.fuzz.from_operators import FROM_OPERATORS
from tests.fuzz.from_our_state import FROM_OUR_STATE
from tests.fuzz.on_the_wire import ON_THE_WIRE

PARSERS: Final = (*ON_THE_WIRE, *FROM_MIRRORS, *FROM_OPERATORS, *FROM_OUR_STATE)
