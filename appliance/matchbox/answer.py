"""From a request's labels to the answer, for everything but assets. Pure: the decisions of the endpoint.

Every refusal looks alike from outside (404, as in Matchbox) and carries its reason inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import yaml

from appliance.boot.events import TO_DISK, Refusal
from appliance.matchbox.butane import translate
from appliance.matchbox.errors import DataError
from appliance.matchbox.labels import Query
from appliance.matchbox.model import Group, MachineBoot, Profile
from appliance.matchbox.render import (
    BOOT_SCRIPT,
    HOME,
    grub_script,
    ipxe_script,
    local_boot_script,
    metadata_text,
    variables,
)
from appliance.matchbox.request import (
    BootRequest,
    Deny,
    Instead,
    LocalBoot,
    RequestKind,
    Resolve,
    Script,
    SignatureForm,
)
from appliance.matchbox.select import Nobody, Rack, choose
from appliance.matchbox.snapshot import Raw, Snapshot, Unusable
from appliance.matchbox.sniff import sniff
from appliance.matchbox.template_run import run_template

TEXT: Final = "text/plain; charset=utf-8"
NOT_FOUND: Final = b"404 page not found\n"
_PATHS: Final[Mapping[str, RequestKind]] = {
    "/": RequestKind.HOME,
    "/boot.ipxe": RequestKind.CHAIN,
    "/boot.ipxe.0": RequestKind.CHAIN,
    "/ipxe": RequestKind.SCRIPT,
    "/grub": RequestKind.GRUB,
    "/ignition": RequestKind.IGNITION,
    "/generic": RequestKind.GENERIC,
    "/cloud": RequestKind.CLOUD,
    "/metadata": RequestKind.METADATA,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send. `ranged`: preconditions and ranges apply. `reason` is for us, never for the client."""

    status: int
    body: bytes
    content_type: str = TEXT
    ranged: bool = False
    machine: str | None = None
    group: str | None = None
    reason: str | None = None
    kernel: str | None = None  # what a boot script names
    to: str = ""  # what it sends the machine to instead
    code: str = ""  # the reason's name, where it has one


@dataclass(frozen=True, slots=True)
class World:
    """Everything that answers are made from."""

    snapshot: Snapshot = Snapshot()
    rack: Rack = Rack()


def kind_of(path: str) -> RequestKind:
    """What a clean path asks for; assets have their own room."""
    if path == "/assets" or path.startswith("/assets/"):
        return RequestKind.ASSET
    return _PATHS.get(path, RequestKind.UNKNOWN)


def signature_path(path: str) -> tuple[str, SignatureForm] | None:
    """The path whose answer `path` asks a signature of, and in which form; None when it asks for none."""
    plain, _, suffix = path.rpartition(".")
    if suffix not in set(SignatureForm) or plain == "/" or plain not in _PATHS:
        return None
    return plain, SignatureForm(suffix)


def not_found(reason: str) -> Answer:
    """Matchbox's only error."""
    return Answer(404, NOT_FOUND, reason=reason)


def answer(
    world: World,
    kind: RequestKind,
    query: Query,
    client: str,
    resolve: Resolve | None,
    *,
    signature: bool = False,
    boots: bool = False,
) -> Answer:
    """Decide. `resolve` may send a machine to its disk or refuse it before groups are looked at.

    For a `signature` too the answer is the document: what it is made over.
    """
    match kind:
        case RequestKind.HOME:
            return Answer(200, HOME.encode())
        case RequestKind.UNKNOWN | RequestKind.ASSET:
            return not_found("no such path")
    machine = world.rack.find(query.labels)
    name = machine.name if machine else None
    override = resolve(BootRequest(kind, client, query.labels, name, signature, boots)) if resolve else None
    match override:
        case Deny(reason, code):
            return Answer(404, NOT_FOUND, machine=name, reason=reason, code=code)
        case LocalBoot(uefi) if kind in {RequestKind.SCRIPT, RequestKind.CHAIN}:
            return Answer(200, local_boot_script(uefi).encode(), machine=name, to=TO_DISK)
        case Script(text, to, reason):
            return Answer(200, text.encode(), machine=name, reason=reason or None, to=to)
    if kind is RequestKind.CHAIN:
        return Answer(200, BOOT_SCRIPT.encode())
    chosen = choose(query, world.rack, world.snapshot.index)
    if isinstance(chosen, Nobody):
        return Answer(404, NOT_FOUND, machine=name, reason=chosen.reason, code=Refusal.NO_PROFILE)
    group = chosen.file if isinstance(chosen, Group) else None
    if isinstance(override, Instead) and isinstance(chosen, MachineBoot) and chosen.profile is not None:
        chosen = replace(chosen, profile=replace(chosen.profile, boot=override.boot))
    try:
        status, body, content_type = 200, *_content(world.snapshot, kind, query, chosen)
        kernel = _kernel(world.snapshot, kind, chosen)
    except _NotThere as error:
        return Answer(404, NOT_FOUND, machine=name, group=group, reason=error.reason, code=error.code)
    ranged = kind in {RequestKind.GENERIC, RequestKind.CLOUD}
    why = override.reason if isinstance(override, Instead) else ""
    return Answer(status, body, content_type, ranged, name, group, why or None, kernel)


def _kernel(snapshot: Snapshot, kind: RequestKind, chosen: MachineBoot | Group) -> str | None:
    if kind not in {RequestKind.SCRIPT, RequestKind.GRUB}:
        return None
    boot = _profile(snapshot, chosen).boot
    return boot.kernel if boot else None


class _NotThere(Exception):
    """There is nothing to send, for a reason."""

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


def _content(
    snapshot: Snapshot, kind: RequestKind, query: Query, chosen: MachineBoot | Group
) -> tuple[bytes, str]:
    """Body and content type."""
    if kind is RequestKind.METADATA:
        return _octets(metadata_text(_variables(chosen, query))), "plain/text"  # so it stands in Matchbox
    profile = _profile(snapshot, chosen)
    match kind:
        case RequestKind.SCRIPT | RequestKind.GRUB:
            if profile.boot is None:
                raise _NotThere(f"profile {profile.id!r} boots nothing", Refusal.NO_PROFILE)
            script = ipxe_script if kind is RequestKind.SCRIPT else grub_script
            return _octets(script(profile.boot)), TEXT
        case RequestKind.IGNITION:
            return _ignition(snapshot, profile, query, chosen), "application/json"
        case RequestKind.GENERIC:
            body = _rendered(snapshot, "generic", profile.generic_id, query, chosen)
        case _:
            body = _rendered(snapshot, "cloud", profile.cloud_id, query, chosen)
            _check_cloud(profile.cloud_id, body)
    return body, sniff(body)


def _profile(snapshot: Snapshot, chosen: MachineBoot | Group) -> Profile:
    if isinstance(chosen, MachineBoot):
        assert chosen.profile is not None, "machines without a profile are not chosen"
        return chosen.profile
    profile = snapshot.profiles.get(chosen.profile)
    if profile is None:
        said = f"{chosen.file}: its profile {chosen.profile!r} does not exist or cannot be used"
        raise _NotThere(said, Refusal.NO_PROFILE)
    return profile


def _ignition(snapshot: Snapshot, profile: Profile, query: Query, chosen: MachineBoot | Group) -> bytes:
    if isinstance(chosen, MachineBoot):
        if chosen.ignition is None:
            raise _NotThere(f"machine {chosen.name} has no Ignition")
        try:
            return chosen.ignition(query.labels.get("token", ""))
        except DataError as error:
            raise _NotThere(error.message) from error
    document = snapshot.documents.get(f"ignition/{profile.ignition_id}")
    if isinstance(document, Raw):
        return document.content
    body = _rendered(snapshot, "ignition", profile.ignition_id, query, chosen)
    try:
        return translate(body)
    except DataError as error:
        raise _NotThere(_place("ignition", profile.ignition_id, error)) from error


def _rendered(snapshot: Snapshot, folder: str, name: str, query: Query, chosen: MachineBoot | Group) -> bytes:
    if not name:
        raise _NotThere(f"the profile names no {folder} file")
    document = snapshot.documents.get(f"{folder}/{name}")
    match document:
        case None:
            raise _NotThere(f"{folder}/{name} does not exist")
        case Unusable(reason):
            raise _NotThere(reason)
        case Raw(content):
            return content
    try:
        return _octets(run_template(document, _variables(chosen, query)))
    except DataError as error:
        raise _NotThere(_place(folder, name, error)) from error


def _variables(chosen: MachineBoot | Group, query: Query) -> dict[str, object]:
    if isinstance(chosen, MachineBoot):
        return variables(chosen.metadata, {"mac": query.labels["mac"]}, query)
    return variables(chosen.metadata, chosen.selector, query)


def _check_cloud(name: str, body: bytes) -> None:
    """Matchbox serves a script, or a cloud-config that parses, and nothing else."""
    if body.startswith(b"#!"):
        return
    if body.partition(b"\n")[0].rstrip() != b"#cloud-config":
        raise _NotThere(f"cloud/{name}: it begins with neither #cloud-config nor #!")
    try:
        for _ in yaml.parse(body.decode("utf-8"), Loader=yaml.CSafeLoader):
            pass
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _NotThere(f"cloud/{name}: it is not YAML") from error


def _place(folder: str, name: str, error: DataError) -> str:
    line = f":{error.line}" if error.line else ""
    return f"{folder}/{name}{line}: {error.message}"


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
