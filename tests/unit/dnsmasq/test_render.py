"""Rules of the renderer that a golden file does not say by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.boot.firmware import CLASSES
from appliance.dnsmasq.render import LONGEST_LINE, render_dhcp, render_hosts, render_tftp
from appliance.errors import OperatorError
from appliance.settings import NetworkMode, NetworkSettings
from tests.unit.dnsmasq.rooms import RACK, TEMPLATES, machine, network


def conf(net: NetworkSettings, **changes: object) -> str:
    given: dict[str, object] = {
        "templates": TEMPLATES,
        "boot_url": "http://172.0.1.1:8080/boot.ipxe",
        "http_port": 8080,
        "hosts_path": "/run/hosts",
        "log_path": "/run/log",
        "boot_files": {0: "undionly.kpxe"},
    }
    return render_dhcp(net, **(given | changes))  # type: ignore[arg-type]


def directives(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_same_settings_give_the_same_bytes() -> None:
    assert conf(network()) == conf(network())
    assert render_hosts(RACK, network()) == render_hosts(tuple(reversed(RACK)), network())


def test_no_machine_stands_in_the_configuration() -> None:
    assert "dhcp-host=" not in conf(network())
    assert "52:54" not in conf(network())


@pytest.mark.parametrize("mode", NetworkMode)
def test_strangers_and_bootp_are_ignored_in_both_modes(mode: NetworkMode) -> None:
    lines = directives(conf(network(mode=mode)))
    assert "dhcp-ignore=tag:!known" in lines
    assert "dhcp-ignore=tag:bootp" in lines
    assert "port=0" in lines
    assert "bind-dynamic" in lines


@pytest.mark.parametrize("mode", NetworkMode)
def test_every_class_has_a_boot_file_or_is_refused(mode: NetworkMode) -> None:
    lines = directives(conf(network(mode=mode), boot_files={7: "snponly.efi", 16: "ipxe.efi"}))
    for client in CLASSES:
        refused = f"dhcp-ignore=tag:{client.tag}" in lines
        served = any(f"=tag:{client.tag}," in line and ".efi" in line for line in lines)
        assert refused == (client.arch not in {7, 16})
        assert served == (client.arch == 7 or (client.arch == 16 and mode is NetworkMode.DHCP))


def test_no_tag_is_ever_set_in_a_hosts_file() -> None:
    # 2.90 aborts at the reload after a lease when one is.
    assert "set:" not in render_hosts(RACK, network())


def test_other_nics_are_silenced_where_we_own_and_unlisted_in_proxy_mode() -> None:
    assert "52:54:00:bb:00:01,ignore\n" in render_hosts(RACK, network())
    assert "52:54:00:bb" not in render_hosts(RACK, network(mode=NetworkMode.PROXY))


def test_a_line_that_dnsmasq_would_split_is_refused() -> None:
    macs = tuple(f"52:54:00:00:00:{i:02x}" for i in range(60))
    with pytest.raises(OperatorError, match="cannot write the reservation of many"):
        render_hosts([machine("many", macs, "172.0.1.9")], network())
    fits = render_hosts([machine("many", macs[:53], "172.0.1.9")], network())
    assert len(fits) <= LONGEST_LINE


@pytest.mark.parametrize(
    "value", ["/run/a\ndhcp-script=/x", "/run/a b", "/run/a,b", '/run/"a"', "/run/a#b", "/run/a\\b", "", "/é"]
)
def test_a_value_that_could_become_a_directive_is_refused(value: str) -> None:
    for argument in ("hosts_path", "log_path", "boot_url"):
        with pytest.raises(OperatorError):
            conf(network(), **{argument: value})
    with pytest.raises(OperatorError):
        conf(network(), boot_files={0: value})
    with pytest.raises(OperatorError):
        render_tftp([network()], templates=TEMPLATES, tftp_root=value, log_path="/run/log")


@pytest.mark.parametrize("name", ["eth0\nconf-file=/x", "eth0,eth1", "eth 0", "a" * 16, "", "*", "-x"])
def test_an_interface_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(OperatorError):
        conf(replace(network(), interface=name))


def test_the_operators_lines_come_last() -> None:
    text = conf(network(), extra="dhcp-option=option:router,172.0.1.254\n")
    assert directives(text)[-1] == "dhcp-option=option:router,172.0.1.254"


def test_the_configuration_names_no_user() -> None:
    """Who a child runs as is decided where it is started, so that one text serves every user."""
    assert not any(line.startswith(("user=", "group=")) for line in directives(conf(network())))


def test_tftp_listens_on_every_network_once() -> None:
    nets = [network(), network("lab", "eno4"), network("again", "eno4")]
    lines = directives(render_tftp(nets, templates=TEMPLATES, tftp_root="/t", log_path="/l"))
    assert [line for line in lines if line.startswith("interface=")] == ["interface=eno4", "interface=pxe0"]
    assert "enable-tftp" in lines
    assert not any(line.startswith("dhcp") for line in lines)
