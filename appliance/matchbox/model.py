"""Matchbox's nouns, and how a machine of the inventory looks to this room. Frozen values; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from appliance.addresses import Mac


@dataclass(frozen=True, slots=True)
class Boot:
    """What iPXE or GRUB loads. An empty kernel is allowed, as in Matchbox; it boots nothing."""

    kernel: str = ""
    initrd: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """What a group's machines get. `boot` is None when the file has no `boot` key: then there is no script.

    The three ids name files below ignition/, generic/ and cloud/ of the data directory; empty means none.
    """

    id: str
    name: str = ""
    boot: Boot | None = None
    ignition_id: str = ""
    generic_id: str = ""
    cloud_id: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Which requests get which profile. `profile` is the name of the profile's file, without `.json`.

    `selector` maps label to required value, MAC addresses already in their one spelling. `metadata` holds
    decoded JSON; every number in it is a float, as in Matchbox. `file` says where it was read.
    """

    id: str
    profile: str
    selector: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    metadata: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    name: str = ""
    file: str = ""

    @property
    def catches_strangers(self) -> bool:
        """Whether a machine that says nothing about itself matches: an empty value equals an absent label."""
        return not any(self.selector.values())

    @property
    def selector_text(self) -> str:
        """The sorted `k=v,k=v` by which Matchbox orders groups."""
        return ",".join(sorted(f"{key}={value}" for key, value in self.selector.items()))


@dataclass(frozen=True, slots=True)
class MachineBoot:
    """A machine of our own inventory, as plain values.

    With a profile it is answered from here, whatever the operator's groups say about its MAC addresses;
    without one the operator's groups decide. `ignition` makes its finished Ignition document for one boot,
    from the token of that boot (empty: none).
    """

    name: str
    macs: tuple[Mac, ...]
    profile: Profile | None = None
    metadata: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    ignition: Callable[[str], bytes] | None = field(default=None, compare=False)
