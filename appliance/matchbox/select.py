"""Which group answers for a request. Pure.

Matchbox tries every group in order: most selectors first, then the sorted `k=v,k=v` text descending. The
same winner is found here by one table look-up per distinct set of selector keys, so that ten thousand groups
that select by `mac` cost what ten do. In-house order for what Matchbox leaves to chance (an unstable sort):
of groups with equal selectors the first file name wins.

Precedence over both sources: a machine of the inventory that has a profile, then the operator's groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from appliance.matchbox.labels import Query
from appliance.matchbox.model import Group, MachineBoot

_Table = dict[tuple[str, ...], Group]


@dataclass(frozen=True, slots=True)
class Nobody:
    """No group answers; `reason` is one sentence for whoever asks why."""

    reason: str


class Index:
    """The operator's groups, ready to be asked. Immutable once built."""

    def __init__(self, groups: Iterable[Group]) -> None:
        by_keys: dict[tuple[str, ...], _Table] = {}
        shadowed: list[tuple[Group, Group]] = []
        for group in sorted(groups, key=lambda g: g.file):
            keys = tuple(sorted(group.selector))
            table = by_keys.setdefault(keys, {})
            winner = table.setdefault(tuple(group.selector[key] for key in keys), group)
            if winner is not group:
                shadowed.append((group, winner))
        self._levels = _levels(by_keys)
        self.shadowed = tuple(shadowed)

    def best(self, labels: Mapping[str, str]) -> Group | None:
        """The first matching group in Matchbox's order. A label that is absent equals an empty one."""
        for level in self._levels:
            found = [group for keys, table in level if (group := _look_up(keys, table, labels)) is not None]
            if found:
                return found[0] if len(found) == 1 else max(found, key=lambda g: g.selector_text)
        return None


_NO_MACHINES: Mapping[str, MachineBoot] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rack:
    """The machines of the inventory by their MAC addresses (one spelling)."""

    by_mac: Mapping[str, MachineBoot] = field(default_factory=lambda: _NO_MACHINES)

    @classmethod
    def of(cls, machines: Iterable[MachineBoot]) -> Rack:
        """Index `machines`; that no MAC stands twice is the inventory's rule."""
        return cls(MappingProxyType({mac.text: machine for machine in machines for mac in machine.macs}))

    def find(self, labels: Mapping[str, str]) -> MachineBoot | None:
        """The machine that a request says it is."""
        return self.by_mac.get(labels.get("mac", ""))


def choose(query: Query, rack: Rack, index: Index) -> MachineBoot | Group | Nobody:
    """Who answers `query`.

    A request with a MAC that is none is not handed to a group that takes everybody (Matchbox does): what
    cannot even say who it is must not be installed by default.
    """
    machine = rack.find(query.labels)
    if machine is not None and machine.profile is not None:
        return machine
    group = index.best(query.labels)
    if group is None:
        return Nobody("no group matches")
    if query.malformed_mac is not None and group.catches_strangers:
        return Nobody(
            f"mac={query.malformed_mac[:64]!r} is not a MAC address, and only a default group matches"
        )
    return group


def _levels(by_keys: Mapping[tuple[str, ...], _Table]) -> list[list[tuple[tuple[str, ...], _Table]]]:
    """Tables by number of selectors, most first."""
    sizes: dict[int, list[tuple[tuple[str, ...], _Table]]] = {}
    for keys, table in by_keys.items():
        sizes.setdefault(len(keys), []).append((keys, table))
    return [sizes[size] for size in sorted(sizes, reverse=True)]


def _look_up(keys: tuple[str, ...], table: _Table, labels: Mapping[str, str]) -> Group | None:
    return table.get(tuple(labels.get(key, "") for key in keys))
