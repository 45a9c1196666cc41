"""Matchbox's gRPC contract as descriptors in code, and our values as its messages. Pure.

Names and field numbers are those of its .proto files (rpcpb, serverpb, storagepb). Only what a push needs is
here: Groups, Profiles, Ignition. A compiler run and generated files would be longer than these tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from appliance.matchbox.labels import hardware_address
from appliance.matchbox.model import Boot, Group, Profile

_Proto = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {"string": _Proto.TYPE_STRING, "bytes": _Proto.TYPE_BYTES}

# Message to its fields: name, number, type. With a dot it is a message; `*` repeats it, `map` is of strings.
_STORAGE: Final[Mapping[str, tuple[tuple[str, int, str], ...]]] = {
    "Group": (
        ("id", 1, "string"), ("name", 2, "string"), ("profile", 3, "string"),
        ("selector", 4, "map"), ("metadata", 5, "bytes"),
    ),
    "Profile": (
        ("id", 1, "string"), ("name", 2, "string"), ("ignition_id", 3, "string"),
        ("cloud_id", 4, "string"), ("boot", 5, ".storagepb.NetBoot"), ("generic_id", 6, "string"),
    ),
    "NetBoot": (("kernel", 1, "string"), ("initrd", 2, "*string"), ("args", 4, "*string")),
}  # fmt: skip
_SERVER: Final[Mapping[str, tuple[tuple[str, int, str], ...]]] = {
    "GroupPutRequest": (("group", 1, ".storagepb.Group"),),
    "GroupPutResponse": (),
    "GroupGetRequest": (("id", 1, "string"),),
    "GroupGetResponse": (("group", 1, ".storagepb.Group"),),
    "GroupDeleteRequest": (("id", 1, "string"),),
    "GroupDeleteResponse": (),
    "GroupListRequest": (),
    "GroupListResponse": (("groups", 1, "*.storagepb.Group"),),
    "ProfilePutRequest": (("profile", 1, ".storagepb.Profile"),),
    "ProfilePutResponse": (),
    "ProfileGetRequest": (("id", 1, "string"),),
    "ProfileGetResponse": (("profile", 1, ".storagepb.Profile"),),
    "ProfileDeleteRequest": (("id", 1, "string"),),
    "ProfileDeleteResponse": (),
    "ProfileListRequest": (),
    "ProfileListResponse": (("profiles", 1, "*.storagepb.Profile"),),
    "IgnitionPutRequest": (("name", 1, "string"), ("config", 2, "bytes")),
    "IgnitionPutResponse": (),
    "IgnitionGetRequest": (("name", 1, "string"),),
    "IgnitionGetResponse": (("config", 1, "bytes"),),
    "IgnitionDeleteRequest": (("name", 1, "string"),),
    "IgnitionDeleteResponse": (),
}
# Service to what its methods' names begin with, and how they end.
SERVICES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "Groups": ("Group", ("Put", "Get", "Delete", "List")),
    "Profiles": ("Profile", ("Put", "Get", "Delete", "List")),
    "Ignition": ("Ignition", ("Put", "Get", "Delete")),
}


class NetBootMessage(Protocol):
    """storagepb.NetBoot."""

    kernel: str
    initrd: Sequence[str]
    args: Sequence[str]


class GroupMessage(Protocol):
    """storagepb.Group; `metadata` is JSON."""

    id: str
    name: str
    profile: str
    selector: MutableMapping[str, str]
    metadata: bytes


class ProfileMessage(Protocol):
    """storagepb.Profile."""

    id: str
    name: str
    ignition_id: str
    cloud_id: str
    generic_id: str
    boot: NetBootMessage

    def HasField(self, name: str) -> bool:  # noqa: N802 - protobuf's name
        """Whether a message field is set."""


def message(name: str) -> type[Message]:
    """The class of a message of `serverpb` or `storagepb`, such as `serverpb.GroupPutRequest`."""
    return _CLASSES[name]


def method(service: str, ending: str) -> tuple[str, type[Message], type[Message]]:
    """The full name of a method and the classes of its request and response: `method("Groups", "Put")`."""
    stem, _ = SERVICES[service]
    name = f"{stem}{ending}"
    return f"/rpcpb.{service}/{name}", message(f"serverpb.{name}Request"), message(f"serverpb.{name}Response")


def group_message(group: Group) -> Message:
    """A group as it is sent."""
    return message("storagepb.Group")(
        id=group.id,
        name=group.name,
        profile=group.profile,
        selector=dict(group.selector),
        metadata=json.dumps(dict(group.metadata), ensure_ascii=False, sort_keys=True).encode(),
    )


def profile_message(profile: Profile) -> Message:
    """A profile as it is sent; without a `boot` it has no script."""
    made = message("storagepb.Profile")(
        id=profile.id,
        name=profile.name,
        ignition_id=profile.ignition_id,
        cloud_id=profile.cloud_id,
        generic_id=profile.generic_id,
    )
    if profile.boot is not None:
        boot = profile.boot
        part = message("storagepb.NetBoot")(kernel=boot.kernel, initrd=boot.initrd, args=boot.args)
        cast("Message", cast("ProfileMessage", made).boot).CopyFrom(part)
    return made


def group_of(found: Message) -> Group:
    """A group that came; metadata that is no JSON object is none, selectors are as Matchbox matches them."""
    raw = cast("GroupMessage", found)
    try:
        metadata = json.loads(raw.metadata or b"{}")
    except (ValueError, RecursionError):
        metadata = {}
    selector = {key: _selected(key, value) for key, value in raw.selector.items()}
    return Group(
        raw.id,
        raw.profile,
        MappingProxyType(selector),
        MappingProxyType(metadata if isinstance(metadata, dict) else {}),
        raw.name,
    )


def profile_of(found: Message) -> Profile:
    """A profile that came."""
    raw = cast("ProfileMessage", found)
    boot = None
    if raw.HasField("boot"):
        boot = Boot(raw.boot.kernel, tuple(raw.boot.initrd), tuple(raw.boot.args))
    return Profile(raw.id, raw.name, boot, raw.ignition_id, raw.generic_id, raw.cloud_id)


def _selected(key: str, value: str) -> str:
    if key.lower() == "mac":
        try:
            return hardware_address(value)
        except ValueError:
            pass
    return value


def _file(
    package: str, messages: Mapping[str, Iterable[tuple[str, int, str]]], *needs: str
) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3", dependency=needs
    )
    for name, fields in messages.items():
        made = file.message_type.add(name=name)
        for field, number, kind in fields:
            _add_field(made, f".{package}.{name}", field, number, kind)
    return file


def _add_field(made: descriptor_pb2.DescriptorProto, place: str, name: str, number: int, kind: str) -> None:
    repeated = kind == "map" or kind.startswith("*")
    label = _Proto.LABEL_REPEATED if repeated else _Proto.LABEL_OPTIONAL
    kind = kind.removeprefix("*")
    if kind == "map":
        # A map is a repeated message of this very name (protobuf's language guide, "Maps").
        entry = f"{name.title()}Entry"
        pair = made.nested_type.add(name=entry, options=descriptor_pb2.MessageOptions(map_entry=True))
        for part, position in (("key", 1), ("value", 2)):
            _add_field(pair, f"{place}.{entry}", part, position, "string")
        kind = f"{place}.{entry}"
    if kind in _SCALARS:
        made.field.add(name=name, number=number, label=label, type=_SCALARS[kind])
    else:
        made.field.add(name=name, number=number, label=label, type=_Proto.TYPE_MESSAGE, type_name=kind)


def _classes() -> dict[str, type[Message]]:
    pool = descriptor_pool.DescriptorPool()  # our own: nobody else's names can clash with these
    pool.Add(_file("storagepb", _STORAGE))
    pool.Add(_file("serverpb", _SERVER, "storagepb.proto"))
    names = [f"storagepb.{name}" for name in _STORAGE] + [f"serverpb.{name}" for name in _SERVER]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names}


_CLASSES: Final = MappingProxyType(_classes())
