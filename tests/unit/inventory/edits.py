"""Inventory files as people write them, for tests of editing: each shape, each habit, in every format.

Each holds the machines node1 (several NICs where the format has them), node2 and Node-3.
"""

from __future__ import annotations

from typing import Final

TOML: Final = {
    "sections": """\
# Rack r1, owned by the storage team. Ask before you touch it.

[profile.worker]
image    = "flatcar/stable"      # as everywhere
args     = ["console=ttyS0"]

# The first one, in the cold aisle.
[machine.node1]
mac     = "52:54:00:aa:00:01"    # the NIC on the PXE VLAN
ip      = "172.0.1.21"
profile = "worker"
labels  = { rack = "r1", "näme" = "größe 😀" }
# serial = "unknown as yet"

# its other NICs: known

[machine.node1.nic.eno2]
mac = '5254.00AA.0002'           # Cisco's spelling
[machine.node1.nic.eno3]
mac = "52-54-00-AA-00-03"
[machine.node1.bond.bond0]
members = ["eno2", "eno3"]

# ---- the second rack ----

[machine.node2]
macs = [
    "525400aa0011",              # left
    "52:54:00:AA:00:12",         # right
]
ip = "172.0.1.22"

[machine.Node-3]   # odd
mac = "52:54:00:aa:00:21"
ip = "172.0.1.23"
# the end
""",
    "tight": """\
[machine.node1]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
nic.eno2.mac = "52:54:00:aa:00:02"
# about the second
[machine.node2]
macs = ["52:54:00:aa:00:11", "52:54:00:aa:00:12"]
ip = "172.0.1.22"
[machine.Node-3]
mac = "52:54:00:aa:00:21"
ip = "172.0.1.23"
[profile.worker]
image = "flatcar/stable"
""",
    "inline": """\
[machine]  # all of them
node1 = { mac = "52:54:00:aa:00:01", ip = "172.0.1.21", nic = { eno2 = { mac = "52:54:00:aa:00:02" } } } # one
node2 = { macs = ["52:54:00:aa:00:11", "52:54:00:aa:00:12"], ip = "172.0.1.22" }
# odd
Node-3 = { mac = "52:54:00:aa:00:21", ip = "172.0.1.23" }

[profile.worker]
image = "flatcar/stable"
""",
    "dotted": """\
# dotted keys at the top
machine.node1.mac = "52:54:00:aa:00:01"
machine.node1.ip = "172.0.1.21"
machine . node1 . nic."eno2".mac = "52:54:00:aa:00:02"

machine.node2 = { macs = ["52:54:00:aa:00:11", "52:54:00:aa:00:12"], ip = "172.0.1.22" }
"machine".Node-3 = { mac = '52:54:00:aa:00:21', ip = "172.0.1.23" } # odd

[profile.worker]
image = "flatcar/stable"
""",
    "one table": """\
machine = { node1 = { mac = "52:54:00:aa:00:01", ip = "172.0.1.21", nic.eno2.mac = "52:54:00:aa:00:02" }, \
node2.macs = ["52:54:00:aa:00:11", "52:54:00:aa:00:12"], node2.ip = "172.0.1.22", \
Node-3 = { mac = "52:54:00:aa:00:21", ip = "172.0.1.23" } } # a line to be proud of
profile = { worker = { image = "flatcar/stable" } }
""",
    "scattered and indented": '''\
[machine.node1]
\tmac = """52:54:00:aa:00:01"""
\tip = "172.0.1.21"

[machine.node2]
\tmacs = ["52:54:00:aa:00:11",
\t"52:54:00:aa:00:12"] ; ip = "x"
'''.replace(' ; ip = "x"', "")
    + """\
\tip = "172.0.1.22"
\tlabels.note = \"\"\"[machine.node1] # not a header\"\"\"

[profile.worker]
image = "flatcar/stable"

[machine.Node-3]
mac = "52:54:00:aa:00:21"
ip = "172.0.1.23"

# and what was forgotten
[machine.node1.nic.eno2]
mac = "52:54:00:aa:00:02"
""",
}

YAML: Final = {
    "block": """\
# Rack r1, owned by the storage team.
---
profile:
  worker: {image: flatcar/stable}   # as everywhere

machine:
  # The first one, in the cold aisle.
  node1:
    mac: 52:54:00:aa:00:01     # the NIC on the PXE VLAN
    ip: 172.0.1.21
    profile: worker
    labels:
      rack: r1
      näme: "größe 😀"
    nic:
      eno2: {mac: 5254.00AA.0002}   # Cisco's
      eno3:
        mac: '52-54-00-AA-00-03'
    # serial: unknown as yet

  # ---- the second rack ----

  node2:
    macs:
    - 525400aa0011   # left
    - "52:54:00:AA:00:12"
    ip: 172.0.1.22
    serial: |
      two lines

  Node-3:   # odd
      mac: 52:54:00:aa:00:21
      ip: 172.0.1.23
# the end
""",
    "flow machines": """\
machine:
    node1: {mac: "52:54:00:aa:00:01", ip: 172.0.1.21, nic: {eno2: {mac: "52:54:00:aa:00:02"}}} # one
    node2: {macs: [52:54:00:aa:00:11, '52:54:00:aa:00:12'],
            ip: 172.0.1.22}
    "Node-3": {mac: "52:54:00:aa:00:21", ip: 172.0.1.23}
profile:
    worker:
        image: flatcar/stable
""",
    "flow": """\
{machine: {node1: {mac: "52:54:00:aa:00:01", ip: 172.0.1.21, nic: {eno2: {mac: "52:54:00:aa:00:02"}}},
  # the second
  node2: {macs: ["52:54:00:aa:00:11", "52:54:00:aa:00:12"], ip: 172.0.1.22},  # both
  Node-3: {mac: "52:54:00:aa:00:21", ip: 172.0.1.23}  # odd
}, profile: {worker: {image: flatcar/stable}}}
""",
    "flow with commas at the end": """\
machine: {
  node1: {mac: "52:54:00:aa:00:01", ip: 172.0.1.21, nic: {eno2: {mac: "52:54:00:aa:00:02"}}},
  node2: {macs: ["52:54:00:aa:00:11", "52:54:00:aa:00:12"], ip: 172.0.1.22},
  # odd
  Node-3: {mac: "52:54:00:aa:00:21", ip: 172.0.1.23},
}
profile: {worker: {image: flatcar/stable}}
...
""",
}

JSON: Final = {
    "four blanks": """\
{
    "profile": {
        "worker": {"image": "flatcar/stable"}
    },
    "machine": {
        "node1": {
            "mac": "52:54:00:aa:00:01",
            "ip": "172.0.1.21",
            "labels": {"näme": "größe \\ud83d\\ude00 {"},
            "nic": {"eno2": {"mac": "5254.00AA.0002"}}
        },
        "node2": {
            "ip": "172.0.1.22",
            "macs": [
                "525400aa0011",
                "52-54-00-AA-00-12"
            ]
        },
        "Node-3": {"mac": "52:54:00:aa:00:21", "ip": "172.0.1.23"}
    }
}
""",
    "tabs": """\
{
\t"machine": {
\t\t"node1": {
\t\t\t"mac": "52:54:00:aa:00:01", "ip": "172.0.1.21",
\t\t\t"nic": {"eno2": {"mac": "52:54:00:aa:00:02"}}
\t\t},
\t\t"node2": {"macs": ["52:54:00:aa:00:11", "52:54:00:aa:00:12"], "ip": "172.0.1.22"},
\t\t"Node-3": {
\t\t\t"mac": "52:54:00:aa:00:21",
\t\t\t"ip": "172.0.1.23"
\t\t}
\t},
\t"profile": {"worker": {"image": "flatcar/stable"}}
}
""",
    "compact": '{"machine":{"node1":{"mac":"52:54:00:aa:00:01","ip":"172.0.1.21",'
    '"nic":{"eno2":{"mac":"52:54:00:aa:00:02"}}},'
    '"node2":{"macs":["52:54:00:aa:00:11","52:54:00:aa:00:12"],"ip":"172.0.1.22"},'
    '"Node-3":{"mac":"52:54:00:aa:00:21","ip":"172.0.1.23"}},"profile":{"worker":{"image":"flatcar/stable"}}}\n',
    "a machine a line": """\
{"profile": {"worker": {"image": "flatcar/stable"}}, "machine": {
"node1": {"mac": "52:54:00:aa:00:01", "ip": "172.0.1.21", "nic": {"eno2": {"mac": "52:54:00:aa:00:02"}}},
"node2": {"macs": ["52:54:00:aa:00:11", "52:54:00:aa:00:12"], "ip": "172.0.1.22"},
"Node-3": {"mac": "52:54:00:aa:00:21", "ip": "172.0.1.23"}
}}
""",
}

CSV: Final = {
    "plain": """\
# from the data centre's list
name,mac,ip,profile,network,rack,note
node1,52:54:00:aa:00:01,172.0.1.21,worker,,r1,"größe, ""XL"" 😀"
# the second rack

node2,525400aa0011 52-54-00-AA-00-12,172.0.1.22,,,r2,
Node-3,52:54:00:aa:00:21,172.0.1.23
""",
    "semicolons": """\
Name;rack;IP;MAC;Profile;Note
node1;r1;172.0.1.21;52:54:00:AA:00:01;worker;a,b
node2;r1;172.0.1.22;52:54:00:aa:00:11  52:54:00:aa:00:12;;
Node-3;r1;172.0.1.23; 52:54:00:aa:00:21 ;;
""",
    "all in quotes": """\
"rack","name","mac","ip","profile"
"r1","node1","52:54:00:aa:00:01","172.0.1.21","worker"
"r1","node2","52:54:00:aa:00:11 52:54:00:aa:00:12","172.0.1.22",""
"r2","Node-3","5254.00aa.0021","172.0.1.23","worker"

""",
    "tabs": "name\tmac\tip\track\tprofile\nnode1\t52:54:00:aa:00:01\t172.0.1.21\tr1\t\n"
    "node2\t52:54:00:aa:00:11 52:54:00:aa:00:12\t172.0.1.22\tr2\t\n"
    "Node-3\t52:54:00:aa:00:21\t172.0.1.23\tr2\tworker\n",
}

FILES: Final = [
    (suffix, habit, text)
    for suffix, files in ((".toml", TOML), (".yaml", YAML), (".json", JSON), (".csv", CSV))
    for habit, text in files.items()
]
