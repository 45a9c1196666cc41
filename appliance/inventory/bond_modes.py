"""Linux's bond modes: which options each has, and what the switch has to do for it. Pure.

As Linux describes them (Documentation/networking/bonding: "Bonding Driver Options", "Switch Configuration").
An option that a mode does not have is ignored there, and refused here: its operator counts on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from appliance.inventory.model import Bond


class Bundle(StrEnum):
    """How the switch treats the ports of the members."""

    LACP = "lacp"  # it negotiates (IEEE 802.1AX, LACP)
    STATIC = "static"  # it is told to treat them as one
    NONE = "none"  # each stays a port of its own


@dataclass(frozen=True, slots=True)
class BondMode:
    """`hashes`: a hash of the packet chooses the member. `prefers`: one member can be the primary."""

    bundle: Bundle
    hashes: bool = False
    prefers: bool = False


MODES: Final[Mapping[str, BondMode]] = MappingProxyType(
    {
        "802.3ad": BondMode(Bundle.LACP, hashes=True),
        "active-backup": BondMode(Bundle.NONE, prefers=True),
        "balance-rr": BondMode(Bundle.STATIC),
        "balance-xor": BondMode(Bundle.STATIC, hashes=True),
        "balance-tlb": BondMode(Bundle.NONE, hashes=True, prefers=True),
        "balance-alb": BondMode(Bundle.NONE, prefers=True),
        "broadcast": BondMode(Bundle.STATIC),
    }
)
LACP_RATES: Final = ("fast", "slow")
HASH_POLICIES: Final = ("layer3+4", "layer2", "layer2+3", "encap2+3", "encap3+4")


@dataclass(frozen=True, slots=True)
class BondOptions:
    """The options of one bond with their defaults; None for what its mode does not have."""

    lacp_rate: str | None
    min_links: int | None
    hash_policy: str | None


def mode_of(bond: Bond) -> BondMode:
    """The mode of a bond. KeyError for a word that is none: inventories hold none such."""
    return MODES[bond.mode]


def options_of(bond: Bond) -> BondOptions:
    """What was written, else the first word of each table; one link is enough to be up."""
    mode = mode_of(bond)
    lacp = mode.bundle is Bundle.LACP
    return BondOptions(
        lacp_rate=bond.lacp_rate or LACP_RATES[0] if lacp else None,
        min_links=bond.min_links or 1 if lacp else None,
        hash_policy=bond.hash_policy or HASH_POLICIES[0] if mode.hashes else None,
    )
