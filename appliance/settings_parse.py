"""Settings from the text of `appliance.toml`: all problems at once, and the origin of every value.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import Final

from appliance import settings_fields as keys
from appliance.addresses import usable_by_host
from appliance.errors import OperatorError, Problem
from appliance.reading import Document, Path, Reading, dotted
from appliance.settings import (
    HttpSettings,
    ImageSettings,
    LogSettings,
    MatchboxSettings,
    NetworkMode,
    NetworkSettings,
    Origin,
    Push,
    Relayed,
    Settings,
    WebhookSettings,
)
from appliance.shapes import Row
from appliance.toml_lines import read_toml

_DEFAULT: Final = Origin("default")
_NETWORK_HINT: Final = "write a table such as [network.pxe]"


def parse_settings(text: str, file: str) -> Settings:
    """Settings from TOML text; `file` is how the operator knows the file.

    Raises:
        OperatorError: with every problem that was found.
    """
    problems: list[Problem] = []
    document = read_toml(text, file, problems)
    top = keys.SETTINGS.read(document.data, Reading(document, problems), ()) if document else None
    settings = _read(top) if top else None
    if problems or settings is None or document is None:
        raise OperatorError(f"cannot use the settings in {file}", problems=problems)
    origins = {path: _origin(document, path) for path, _ in _values(settings)}
    return replace(settings, origins=MappingProxyType({dotted(path): o for path, o in origins.items()}))


def describe_settings(settings: Settings) -> list[tuple[str, str, Origin]]:
    """Every effective setting: its dotted path, its value as it could be written, and where that stands."""
    return [
        (dotted(path), value, settings.origins.get(dotted(path), _DEFAULT))
        for path, value in _values(settings)
    ]


def _read(top: Row) -> Settings:
    networks: dict[str, NetworkSettings] = {}
    tables = top.get(keys.NETWORK)
    for name, row in tables or ():
        network = _network(name or "", row)
        if network is not None and name is not None:
            _check_neighbours(row, network, networks.values())
            networks[name] = network
    if tables == ():
        top.add("network", "no network is set", _NETWORK_HINT)
    http, matchbox, images = top.get(keys.HTTP), top.get(keys.MATCHBOX), top.get(keys.IMAGES)
    port, hosts = (http.get(keys.PORT), http.get(keys.HOSTS)) if http else (None, None)
    log, hooks = top.get(keys.LOG), top.get(keys.WEBHOOKS) or ()
    return Settings(
        networks=MappingProxyType(networks),
        http=HttpSettings(port or HttpSettings().port, hosts or ()),
        matchbox=_matchbox(matchbox) if matchbox else MatchboxSettings(),
        images=MappingProxyType({f.name: _image(images.get(f) if images else None) for f in keys.SOURCES}),
        log=_log(log) if log else LogSettings(),
        webhooks=MappingProxyType(
            {name: hook for name, row in hooks if name and (hook := _webhook(name, row)) is not None}
        ),
    )


def _network(name: str, row: Row) -> NetworkSettings | None:
    interface, subnet, address = row.get(keys.INTERFACE), row.get(keys.SUBNET), row.get(keys.ADDRESS)
    mode, lease, mtu, ntp = row.get(keys.MODE), row.get(keys.LEASE), row.get(keys.MTU), row.get(keys.NTP)
    relayed = tuple(_relayed(row))
    if interface is None or subnet is None:
        return None
    if address is None:
        address = subnet.network_address + 1
    elif reason := usable_by_host(address, subnet):
        row.add("address", f"cannot be our address: {reason}", "leave it out for the first host address")
    if mode is NetworkMode.PROXY and row.has(keys.RELAYED):
        hint = 'leave relayed out, or write mode = "dhcp"'
        row.add("relayed", 'works with mode = "dhcp" only in this version', hint)
    plain = NetworkSettings(name, interface, subnet, address)
    return replace(
        plain,
        mode=mode or plain.mode,
        other_servers=row.get(keys.OTHER_SERVERS) or plain.other_servers,
        lease=lease or plain.lease,
        relayed=relayed,
        mtu=mtu,
        ntp=ntp or (),
        vlan=row.get(keys.VLAN),
        mac=row.get(keys.PINNED),
        default_route=row.get(keys.DEFAULT_ROUTE) or plain.default_route,
        forwarding=row.get(keys.FORWARDING) or plain.forwarding,
    )


def _relayed(row: Row) -> Iterator[Relayed]:
    for below in row.get(keys.RELAYED) or ():
        subnet, router = below.get(keys.RELAYED_SUBNET), below.get(keys.ROUTER)
        if subnet is None or router is None:
            continue
        if reason := usable_by_host(router, subnet):
            hint = "write the address that the relay has on that VLAN"
            below.add("router", f"cannot be the relay's address: {reason}", hint)
        yield Relayed(subnet, router, below.get(keys.VLAN))


def _check_neighbours(row: Row, network: NetworkSettings, before: Iterable[NetworkSettings]) -> None:
    """No interface faces two networks, and no address lies in two subnets."""
    for other in before:
        if other.interface == network.interface:
            message = f"{network.interface} already faces the network {other.name!r}"
            row.add("interface", message, "each network needs an interface of its own, such as a VLAN device")
    own = [("subnet", network.subnet), *(("relayed", r.subnet) for r in network.relayed)]
    taken = [(subnet, f"of the network {other.name!r}") for other in before for subnet in _subnets(other)]
    for key, subnet in own:
        for rival, whose in taken:
            if subnet.overlaps(rival):
                row.add(key, f"{subnet} overlaps {rival} {whose}", "give one of the two another subnet")
        taken.append((subnet, "of the same network"))


def _subnets(network: NetworkSettings) -> Iterator[IPv4Network]:
    yield network.subnet
    yield from (relayed.subnet for relayed in network.relayed)


def _matchbox(row: Row) -> MatchboxSettings:
    plain = MatchboxSettings()
    endpoint, data, push = row.get(keys.ENDPOINT), row.get(keys.DATA), row.get(keys.PUSH)
    access = row.get(keys.IGNITION_ACCESS) or plain.ignition
    keyring = row.get(keys.KEYRING) or plain.keyring
    grpc, ca, cert, key = (row.get(each) for each in (keys.GRPC, keys.CA, keys.CERT, keys.KEY))
    read = MatchboxSettings(
        endpoint or plain.endpoint,
        data or plain.data,
        push or plain.push,
        access,
        keyring,
        grpc or plain.grpc,
        ca or plain.ca,
        cert or plain.cert,
        key or plain.key,
    )
    if read.keyring and not read.builtin:
        row.add("keyring", "an external Matchbox signs by itself", "leave it out: it would do nothing")
    _check_push(row, read, wrong_endpoint=endpoint is None and row.has(keys.ENDPOINT))
    return read


def _check_push(row: Row, read: MatchboxSettings, *, wrong_endpoint: bool) -> None:
    """What a push needs, and what would be ignored without one: an operator would count on it."""
    if read.push is not Push.NONE and read.builtin and not wrong_endpoint:
        hint = 'write endpoint = "http://HOST:PORT", the external one, or leave push out'
        row.add("push", "there is no external Matchbox to push to: our own reads the inventory", hint)
    if read.push is Push.GRPC and not row.has(keys.GRPC):
        hint = 'add grpc = "HOST:8081"; Matchbox listens there when it runs with -rpc-address'
        row.add("push", 'push = "grpc" needs the address of the gRPC side', hint)
    if read.push is Push.DIRECTORY or not row.has(keys.PUSH):
        for unused in (keys.GRPC, keys.CA, keys.CERT, keys.KEY):
            if row.has(unused):
                hint = 'write push = "grpc", or leave it out'
                row.add(unused.name, "counts with a push by gRPC only", hint)


def _log(row: Row) -> LogSettings:
    plain = LogSettings()
    return LogSettings(row.get(keys.FORMAT) or plain.format, row.get(keys.LEVEL) or plain.level)


def _webhook(name: str, row: Row) -> WebhookSettings | None:
    url, secret, events = row.get(keys.URL), row.get(keys.SECRET), row.get(keys.EVENTS)
    ca = row.get(keys.HOOK_CA)
    if url is None or secret is None:
        return None
    if ca and url.startswith("http:"):
        row.add("ca", "counts with https only", "write the URL with https, or leave it out")
    plain = WebhookSettings(name, url, secret)
    return replace(plain, events=events or plain.events, ca=ca or plain.ca)


def _image(row: Row | None) -> ImageSettings:
    plain = ImageSettings()
    if row is None:
        return plain
    mirror, key_files, arch = row.get(keys.MIRROR), row.get(keys.KEYS), row.get(keys.ARCH)
    return ImageSettings(mirror, key_files or plain.keys, arch or plain.arch)


def _origin(document: Document, path: Path) -> Origin:
    node: object = document.data
    for step in path:
        node = node.get(str(step)) if isinstance(node, Mapping) else None
    return _DEFAULT if node is None else document.origin(path)


def _values(settings: Settings) -> Iterator[tuple[Path, str]]:
    for name, network in settings.networks.items():
        at = ("network", name)
        yield (*at, keys.INTERFACE.name), network.interface
        yield (*at, keys.SUBNET.name), str(network.subnet)
        yield (*at, keys.ADDRESS.name), str(network.address)
        yield (*at, keys.MODE.name), network.mode.value
        yield (*at, keys.OTHER_SERVERS.name), network.other_servers.value
        yield (*at, keys.LEASE.name), f"{network.lease}s"
        yield (*at, keys.RELAYED.name), _listed(_relayed_words(r) for r in network.relayed)
        yield (*at, keys.MTU.name), str(network.mtu or "")
        yield (*at, keys.NTP.name), _listed(network.ntp)
        yield (*at, keys.VLAN.name), str(network.vlan or "")
        yield (*at, keys.PINNED.name), str(network.mac or "")
        yield (*at, keys.DEFAULT_ROUTE.name), network.default_route.value
        yield (*at, keys.FORWARDING.name), network.forwarding.value
    yield ("http", keys.PORT.name), str(settings.http.port)
    yield ("http", keys.HOSTS.name), _listed(settings.http.hosts)
    yield ("matchbox", keys.ENDPOINT.name), settings.matchbox.endpoint
    yield ("matchbox", keys.DATA.name), settings.matchbox.data
    yield ("matchbox", keys.PUSH.name), settings.matchbox.push.value
    yield ("matchbox", keys.IGNITION_ACCESS.name), settings.matchbox.ignition.value
    yield ("matchbox", keys.KEYRING.name), settings.matchbox.keyring
    yield ("matchbox", keys.GRPC.name), settings.matchbox.grpc
    yield ("matchbox", keys.CA.name), settings.matchbox.ca
    yield ("matchbox", keys.CERT.name), settings.matchbox.cert
    yield ("matchbox", keys.KEY.name), settings.matchbox.key
    yield ("log", keys.FORMAT.name), settings.log.format or ""
    yield ("log", keys.LEVEL.name), settings.log.level.value
    for name, hook in settings.webhooks.items():
        yield ("webhook", name, keys.URL.name), hook.place
        yield ("webhook", name, keys.SECRET.name), hook.secret
        yield ("webhook", name, keys.EVENTS.name), _listed(hook.events)
        yield ("webhook", name, keys.HOOK_CA.name), hook.ca
    for name, image in settings.images.items():
        yield ("images", name, keys.MIRROR.name), image.mirror or ""
        yield ("images", name, keys.KEYS.name), _listed(image.keys)
        yield ("images", name, keys.ARCH.name), _listed(image.arch)


def _relayed_words(relayed: Relayed) -> str:
    vlan = f", VLAN {relayed.vlan}" if relayed.vlan else ""
    return f"{relayed.subnet} via {relayed.router}{vlan}"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
