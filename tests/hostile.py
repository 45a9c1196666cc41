"""Strings that mean something to a program between an inventory and a booted machine, for property tests."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

# Fragments that mean something to dnsmasq, iPXE, GRUB, a shell, a terminal or a template.
_SEPARATORS: Final = ["\n", "\r", "\0", " ", ",", "#", ";", "..", "/", "-", "--", '"', "'", "\\"]
_WORDS: Final = ["${", "||", "&&", "$(id)", "{{", "set:x", "ignore", "12h", "<script>", "%0a"]
_TERMINAL: Final = ["\x1b[31m", "\x1b]0;x\a", "\x9b", "\u202e", "\u2066", "\u2028", "\x7f", "\ud800"]
_LOOKALIKES: Final = ["𝟙", "İ", "ſ", "\u212a"]  # folded or normalised, these turn into ASCII
_EVIL: Final = st.sampled_from([*_SEPARATORS, *_WORDS, *_TERMINAL, *_LOOKALIKES])
STRINGS: Final = st.lists(_EVIL | st.text(max_size=3) | st.sampled_from(["a", "1", "node"]), max_size=4).map(
    "".join
)
