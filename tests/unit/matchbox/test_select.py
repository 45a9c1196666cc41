from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from appliance.addresses import Mac
from appliance.matchbox.labels import parse_query
from appliance.matchbox.model import Boot, Group, MachineBoot, Profile
from appliance.matchbox.select import Index, Nobody, Rack, choose


def group(file: str, **selector: str) -> Group:
    return Group(id=file, profile="p", selector=selector, file=file)


def naive(groups: list[Group], labels: dict[str, str]) -> Group | None:
    """Matchbox's own way: all groups in order, the first whose every selector equals."""
    ordered = sorted(groups, key=lambda g: g.file)
    ordered.sort(key=lambda g: g.selector_text, reverse=True)
    ordered.sort(key=lambda g: len(g.selector), reverse=True)
    for candidate in ordered:
        if all(labels.get(key, "") == value for key, value in candidate.selector.items()):
            return candidate
    return None


_KEYS = st.sampled_from(["a", "b", "c"])
_VALUES = st.sampled_from(["", "1", "2"])
_SELECTORS = st.dictionaries(_KEYS, _VALUES, max_size=3)


@given(st.lists(_SELECTORS, max_size=8), st.dictionaries(_KEYS, _VALUES, max_size=3))
def test_the_index_finds_what_matchbox_finds(selectors: list[dict[str, str]], labels: dict[str, str]) -> None:
    groups = [group(f"{i:02}", **selector) for i, selector in enumerate(selectors)]
    assert Index(groups).best(labels) == naive(groups, labels)


def test_equal_selectors_the_first_file_wins_and_the_others_are_named() -> None:
    first, second = group("a.json", k="v"), group("b.json", k="v")
    index = Index([second, first])
    assert index.best({"k": "v"}) is first
    assert index.shadowed == ((second, first),)


def test_a_malformed_mac_never_gets_a_group_that_takes_everybody() -> None:
    everybody, nameless = group("default.json"), group("empty.json", serial="")
    rack = Rack()
    for groups in ([everybody], [nameless], [everybody, nameless]):
        index = Index(groups)
        assert isinstance(choose(parse_query("mac=zz"), rack, index), Nobody)
        assert choose(parse_query("mac=52:54:00:00:00:01"), rack, index) in groups
        assert choose(parse_query("mac="), rack, index) in groups
    chosen = choose(parse_query("mac=zz&role=x"), rack, Index([everybody, group("role.json", role="x")]))
    assert isinstance(chosen, Group)
    assert chosen.file == "role.json"


def test_a_machine_with_a_profile_beats_every_group() -> None:
    mac = Mac.parse("52:54:00:aa:00:01")
    machine = MachineBoot("node1", (mac,), Profile("worker", boot=Boot("k")))
    index = Index([group("more.json", mac=str(mac), serial="7"), group("mac.json", mac=str(mac))])
    query = parse_query(f"mac={mac.dashed}&serial=7")
    assert choose(query, Rack.of([machine]), index) is machine
    without = MachineBoot("node1", (mac,))
    chosen = choose(query, Rack.of([without]), index)
    assert isinstance(chosen, Group)
    assert chosen.file == "more.json"


def test_a_look_up_visits_key_sets_not_groups() -> None:
    macs = (f"52:54:00:00:{i >> 8:02x}:{i & 255:02x}" for i in itertools.count())
    groups = [group(f"{i}", mac=mac) for i, mac in zip(range(5000), macs, strict=False)]
    index = Index([*groups, group("default")])
    assert sum(len(level) for level in index._levels) == 2
    chosen = index.best({"mac": "52:54:00:00:01:00"})
    assert chosen is groups[256]
