"""`appliance.toml`: the whole of it, its defaults, every rule, and where each value came from."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import OperatorError
from appliance.paths import Paths
from appliance.settings import (
    DefaultRoute,
    Forwarding,
    HttpSettings,
    ImageSettings,
    MatchboxSettings,
    NetworkMode,
    NetworkSettings,
    Origin,
    OtherServers,
    Push,
    Relayed,
    Settings,
)
from appliance.settings_parse import describe_settings, parse_settings

_FULL = """\
[network.pxe]
interface = "eno4"
subnet    = "172.0.1.0/24"
address   = "172.0.1.2"
mode      = "dhcp"
lease     = "10m"
relayed   = [{ subnet = "172.0.2.0/24", router = "172.0.2.1", vlan = 111 }]
vlan      = 110
mtu       = 1500
ntp       = ["172.0.1.2"]

[network.lab]
interface = "br-lab.7"
subnet    = "10.0.0.0/16"

[http]
port = 80

[matchbox]
endpoint = "http://matchbox.example.com:8080/"
data     = "matchbox"
push     = "none"

[images.flatcar]
mirror = "https://mirror.example.com/{channel}/flatcar"
keys   = ["flatcar.asc"]
arch   = ["amd64", "aarch64"]
"""
_ONE = '[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\n'


def _problems(text: str) -> list[str]:
    with pytest.raises(OperatorError) as caught:
        parse_settings(text, "a.toml")
    return [str(problem) for problem in caught.value.problems]


def test_everything_that_can_be_set() -> None:
    settings = parse_settings(_FULL, "a.toml")
    assert dict(settings.networks) == {
        "pxe": NetworkSettings(
            name="pxe",
            interface="eno4",
            subnet=IPv4Network("172.0.1.0/24"),
            address=IPv4Address("172.0.1.2"),
            mode=NetworkMode.DHCP,
            lease=600,
            relayed=(Relayed(IPv4Network("172.0.2.0/24"), IPv4Address("172.0.2.1"), 111),),
            vlan=110,
            mtu=1500,
            ntp=(IPv4Address("172.0.1.2"),),
        ),
        "lab": NetworkSettings("lab", "br-lab.7", IPv4Network("10.0.0.0/16"), IPv4Address("10.0.0.1")),
    }
    assert settings.http == HttpSettings(80)
    assert settings.matchbox == MatchboxSettings("http://matchbox.example.com:8080", "matchbox", Push.NONE)
    assert settings.images["flatcar"] == ImageSettings(
        "https://mirror.example.com/{channel}/flatcar", ("flatcar.asc",), ("amd64", "arm64")
    )
    assert settings.images["ipxe"] == ImageSettings()


def test_the_least_that_works() -> None:
    settings = parse_settings(_ONE, "a.toml")
    assert settings == Settings(
        {"pxe": NetworkSettings("pxe", "eth0", IPv4Network("172.0.1.0/24"), IPv4Address("172.0.1.1"))},
        images=settings.images,
    )


def test_another_server_is_a_reason_not_to_start_unless_told() -> None:
    settings = parse_settings(_ONE + 'other_servers = "tell"\n', "a.toml")
    assert settings.networks["pxe"].other_servers is OtherServers.TELL
    assert ("network.pxe.other_servers", "tell", Origin("a.toml", 4)) in describe_settings(settings)
    assert parse_settings(_ONE, "a.toml").networks["pxe"].other_servers is OtherServers.REFUSE
    (problem,) = _problems(_ONE + 'other_servers = "ignore"\n')
    assert problem.startswith("a.toml:4: network.pxe.other_servers: 'ignore' is not")
    assert "refuse, tell" in problem


def test_what_may_be_unsafe_is_written_out() -> None:
    usual = parse_settings(_ONE, "a.toml").networks["pxe"]
    assert (usual.default_route, usual.forwarding) == (DefaultRoute.REFUSE, Forwarding.DENY)
    settings = parse_settings(_ONE + 'default_route = "allow"\nforwarding = "allow"\n', "a.toml")
    allowed = settings.networks["pxe"]
    assert (allowed.default_route, allowed.forwarding) == (DefaultRoute.ALLOW, Forwarding.ALLOW)
    told = {path: value for path, value, _ in describe_settings(settings)}
    assert told["network.pxe.default_route"] == told["network.pxe.forwarding"] == "allow"
    assert len(_problems(_ONE + 'default_route = "yes"\nforwarding = true\n')) == 2


def test_a_keyring_is_for_our_own_endpoint() -> None:
    settings = parse_settings(_ONE + '[matchbox]\nkeyring = "signing.pgp"\n', "a.toml")
    assert settings.matchbox.keyring == "signing.pgp"
    assert ("matchbox.keyring", "signing.pgp", Origin("a.toml", 5)) in describe_settings(settings)
    text = _ONE + '[matchbox]\nendpoint = "http://h"\nkeyring = "k"\n'
    assert _problems(text) == [
        "a.toml:6: matchbox.keyring: an external Matchbox signs by itself (leave it out: it would do nothing)"
    ]


def test_every_value_has_an_origin() -> None:
    settings = parse_settings(_FULL, "a.toml")
    described = {path: (value, origin) for path, value, origin in describe_settings(settings)}
    assert described.keys() == settings.origins.keys()
    assert described["network.pxe.lease"] == ("600s", Origin("a.toml", 6))
    assert described["network.pxe.relayed"] == ("172.0.2.0/24 via 172.0.2.1, VLAN 111", Origin("a.toml", 7))
    assert described["network.pxe.vlan"] == ("110", Origin("a.toml", 8))
    assert described["network.lab.vlan"] == ("", Origin("default", 0))
    assert described["network.lab.address"] == ("10.0.0.1", Origin("default", 0))
    assert described["http.port"] == ("80", Origin("a.toml", 17))
    assert described["images.flatcar.arch"] == ("amd64, arm64", Origin("a.toml", 27))
    assert described["images.ipxe.mirror"] == ("", Origin("default", 0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a.toml:1: network: is missing (add the key network to this table)"),
        ("[network]", "a.toml:1: network: no network is set (write a table such as [network.pxe])"),
        (
            "[network.pxe]",
            "a.toml:1: network.pxe.interface: is missing (add the key interface to this table)",
        ),
        (
            _ONE + "intreface = 1",
            "a.toml:4: network.pxe.intreface: is not a known key (did you mean 'interface'?)",
        ),
        (_ONE + "[htpp]", "a.toml:4: htpp: is not a known key (did you mean 'http'?)"),
        (
            _ONE + 'lease = "90s"',
            (
                "a.toml:4: network.pxe.lease: a lease of 90s is too short "
                "(dnsmasq gives none below 120s: write that or more)"
            ),
        ),
        (
            _ONE + 'lease = "400d"',
            "a.toml:4: network.pxe.lease: a lease of 400d is too long (write 365d or less)",
        ),
        (
            _ONE + 'address = "172.0.1.255"',
            (
                "a.toml:4: network.pxe.address: cannot be our address: "
                "172.0.1.255 is the broadcast address of 172.0.1.0/24 "
                "(leave it out for the first host address)"
            ),
        ),
        (
            _ONE + "mtu = 100",
            "a.toml:4: network.pxe.mtu: 100 is not an MTU (write a number from 576 to 9216)",
        ),
        (_ONE + 'mode = "prxy"', "a.toml:4: network.pxe.mode: 'prxy' is not a mode (did you mean 'proxy'?)"),
        (
            _ONE + 'mode = "proxy"\nrelayed = [{ subnet = "10.0.0.0/24", router = "10.0.0.1" }]',
            (
                'a.toml:5: network.pxe.relayed: works with mode = "dhcp" only in this version '
                '(leave relayed out, or write mode = "dhcp")'
            ),
        ),
        (
            _ONE + '[network.b]\ninterface = "eth0"\nsubnet = "10.0.0.0/24"',
            (
                "a.toml:5: network.b.interface: eth0 already faces the network 'pxe' "
                "(each network needs an interface of its own, such as a VLAN device)"
            ),
        ),
        (
            _ONE + '[network.b]\ninterface = "eth1"\nsubnet = "172.0.0.0/16"',
            (
                "a.toml:6: network.b.subnet: 172.0.0.0/16 overlaps 172.0.1.0/24 of the network 'pxe' "
                "(give one of the two another subnet)"
            ),
        ),
        (
            _ONE + 'relayed = [{ subnet = "172.0.1.128/25", router = "172.0.1.129" }]',
            (
                "a.toml:4: network.pxe.relayed: 172.0.1.128/25 overlaps 172.0.1.0/24 of the same network "
                "(give one of the two another subnet)"
            ),
        ),
        (
            _ONE + 'relayed = [{ subnet = "10.0.0.0/24", router = "10.0.1.1" }]',
            (
                "a.toml:4: network.pxe.relayed[0].router: cannot be the relay's address: "
                "10.0.1.1 is outside 10.0.0.0/24 (write the address that the relay has on that VLAN)"
            ),
        ),
        (
            _ONE + "[http]\nport = 0",
            "a.toml:5: http.port: 0 is not a port (write a number from 1 to 65535)",
        ),
        (
            _ONE + '[matchbox]\nendpoint = "http://h"\npush = "grpc"',
            (
                'a.toml:6: matchbox.push: push = "grpc" needs the address of the gRPC side '
                '(add grpc = "HOST:8081"; Matchbox listens there when it runs with -rpc-address)'
            ),
        ),
        *(
            (
                _ONE + f'[matchbox]\n{endpoint}push = "directory"',
                (
                    f"a.toml:{line}: matchbox.push: there is no external Matchbox to push to: "
                    "our own reads the inventory "
                    '(write endpoint = "http://HOST:PORT", the external one, or leave push out)'
                ),
            )
            for endpoint, line in (("", 5), ('endpoint = "builtin"\n', 6))
        ),
        (
            _ONE + '[matchbox]\nendpoint = "http://h"\npush = "grpc"\ngrpc = "h:70000"',
            (
                "a.toml:7: matchbox.grpc: 'h:70000' is not a host and its port: 70000 is not a port "
                "(ports are 1 to 65535)"
            ),
        ),
        *(
            (
                _ONE + f'[matchbox]\nendpoint = "http://h"\n{key} = "{value}"{push}',
                (
                    f"a.toml:6: matchbox.{key}: counts with a push by gRPC only "
                    '(write push = "grpc", or leave it out)'
                ),
            )
            for key, value in (("grpc", "h:8081"), ("ca", "x.crt"), ("cert", "x.crt"), ("key", "x.key"))
            for push in ("", '\npush = "directory"')
        ),
        (
            _ONE + '[matchbox]\nendpoint = "http://h:99999"',
            (
                "a.toml:5: matchbox.endpoint: 'http://h:99999' is not an endpoint: 99999 is not a port "
                "(ports are 1 to 65535)"
            ),
        ),
        (
            '[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.1/24"',
            "a.toml:3: network.pxe.subnet: '172.0.1.1/24' has host bits set (its subnet is 172.0.1.0/24)",
        ),
        (
            '[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/31"',
            (
                "a.toml:3: network.pxe.subnet: 172.0.1.0/31 is not the size of a VLAN "
                "(give it a prefix from /8 to /30)"
            ),
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, expected: str) -> None:
    assert expected in _problems(text)


def test_all_problems_at_once() -> None:
    network = '[network.pxe]\ninterface = "-x"\nlease = "1"\nmtu = 1\n'
    rest = '[http]\nport = "8080"\n[matchbox]\nendpoint = 1\n'
    assert len(_problems(network + rest)) == 6


_VALUES = [
    (
        "interface",
        ["lo", "eth0,lo", "eth0 ", "a" * 16, "", "-eth", "eth0\\ndhcp-script=/x", "e*", "eth0/1", "eth0:1"],
    ),
    ("subnet", ["172.0.1.0", "172.0.1.0/33", "172.0.1.0/255.255.255.0", "::/64", "x/24"]),
    ("subnet", ["0.1.0.0/16", "127.0.0.0/8", "127.5.0.0/24"]),
    ("subnet", ["169.254.1.0/24", "224.0.0.0/24", "240.0.0.0/8", "168.0.0.0/7", "128.0.0.0/8x"]),
    ("address", ["172.0.1.01", "172.0.2.1", "fe80::1", "1", "172.0.1.1/24", "172.0.1.0"]),
    ("lease", ["infinite", "1", "-1h", "1 h", "1h\\n", "1H", "0h", "1w", "9999999999d"]),
]


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in _VALUES for value in values])
def test_hostile_values_are_refused(key: str, value: str) -> None:
    written = {"interface": "eth0", "subnet": "172.0.1.0/24"} | {key: value}
    lines = "\n".join(f'{name} = "{raw}"' for name, raw in written.items())
    assert _problems(f"[network.pxe]\n{lines}\n")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://h/${x}",
        "ftp://h",
        "http://",
        "http://h/a b",
        "http://h,x",
        "http://u:p@h",
        "http://h?q",
        "http://h/#x",
        "http://h/../x",
        "Builtin",
    ],
)
def test_hostile_endpoints_are_refused(endpoint: str) -> None:
    assert _problems(_ONE + f'[matchbox]\nendpoint = "{endpoint}"\n')


@pytest.mark.parametrize("address", ["h", ":8081", "h:", "http://h:8081", "h:8081/x", "h,x:1", "u@h:1"])
def test_hostile_grpc_addresses_are_refused(address: str) -> None:
    given_ = f'[matchbox]\nendpoint = "http://h"\npush = "grpc"\ngrpc = "{address}"\n'
    (problem,) = _problems(_ONE + given_)
    assert problem.startswith("a.toml:7: matchbox.grpc: ")


def test_an_endpoint_that_is_wrong_is_the_only_problem_of_a_push() -> None:
    (problem,) = _problems(_ONE + '[matchbox]\nendpoint = "ftp://h"\npush = "directory"\n')
    assert "matchbox.endpoint" in problem


def test_a_push_by_grpc_names_its_files_relative_to_the_keys_or_absolute() -> None:
    written = 'push = "grpc"\ngrpc = "h:8081"\nca = "own.crt"\nkey = "/srv/client.key"\n'
    settings = parse_settings(_ONE + f'[matchbox]\nendpoint = "http://h"\n{written}', "a.toml")
    matchbox = settings.matchbox
    assert (matchbox.push, matchbox.grpc) == (Push.GRPC, "h:8081")
    paths = Paths(PurePosixPath("/r"))
    keys = "/r/etc/pxe-appliance/keys.d"
    assert [str(paths.in_keys(raw)) for raw in (matchbox.ca, matchbox.cert, matchbox.key)] == [
        f"{keys}/own.crt",
        f"{keys}/matchbox-client.crt",
        "/srv/client.key",
    ]


def test_a_push_that_is_off_for_now_keeps_its_address() -> None:
    text = _ONE + '[matchbox]\nendpoint = "http://h"\npush = "none"\ngrpc = "h:8081"\n'
    assert parse_settings(text, "a.toml").matchbox.grpc == "h:8081"


@given(st.text())
def test_any_text_is_settings_or_problems(text: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parse_settings(text, "a.toml")
    assert caught.value.problems


@given(
    st.text(st.characters(exclude_characters='"\\', min_codepoint=32)),
    st.sampled_from(["interface", "lease"]),
)
def test_no_string_brings_a_line_break_or_a_control_through(value: str, key: str) -> None:
    written = {"interface": "eth0", "subnet": "172.0.1.0/24"} | {key: value}
    text = "[network.pxe]\n" + "\n".join(f'{name} = "{raw}"' for name, raw in written.items())
    try:
        settings = parse_settings(text, "a.toml")
    except OperatorError:
        return
    assert all(shown.isprintable() and "," not in shown for _, shown, _ in describe_settings(settings))
