"""A push through Matchbox's gRPC side. Whoever imports this pays for gRPC: tens of megabytes.

Matchbox answers every failure with UNKNOWN and the text of a Go error (measured); what it says is told on. It
writes its files in place, so each write is a moment in which a machine can be answered wrongly: what is there
already is read first, and left alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, cast

# gRPC writes lines of its own about failed connections to our standard error: they are told in our words.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from google.protobuf.message import Message

from appliance.errors import SurroundingsError
from appliance.matchbox.model import Group, Profile
from appliance.matchbox.push_plan import Delete, Document, Found, Kind, Objects, Put, Stored, stored_of
from appliance.matchbox.push_tls import TlsFiles, try_credentials
from appliance.matchbox.rpc_messages import (
    SERVICES,
    group_message,
    group_of,
    method,
    profile_message,
    profile_of,
)
from appliance.plain_text import safe_text

PATIENCE: Final = 10.0  # seconds for one call
_LIST_PATIENCE: Final = 60.0  # Matchbox reads every file anew: ten thousand groups take it a second or two
_PARALLEL: Final = 8
_MAX_MESSAGE: Final = 64 << 20
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.enable_http_proxy", 0),  # as machines, who ask without one
    (
        "grpc.use_local_subchannel_pool",
        1,
    ),  # a new push makes a new connection
)
_SERVICE: Final = {Kind.GROUP: "Groups", Kind.PROFILE: "Profiles", Kind.IGNITION: "Ignition"}

T = TypeVar("T")
U = TypeVar("U")


class _Missing(Exception):
    """What was asked for does not exist there."""


class _Unreadable(Exception):
    """It exists there, and Matchbox cannot read it."""


class GrpcTarget:
    """A connected Matchbox; `connected` makes it. Calls block, each within its deadline; from any thread."""

    parallel: Final = _PARALLEL

    def __init__(
        self, channel: grpc.Channel, address: str, patience: float, halt: Callable[[], None]
    ) -> None:
        self._address = address
        self._patience = patience
        self._halt = halt
        self._calls: dict[tuple[str, str], Callable[..., Message]] = {}
        self._requests: dict[tuple[str, str], type[Message]] = {}
        for service, (_, endings) in SERVICES.items():
            for ending in endings:
                path, request, response = method(service, ending)
                self._requests[service, ending] = request
                self._calls[service, ending] = channel.unary_unary(
                    path,
                    request_serializer=request.SerializeToString,
                    response_deserializer=response.FromString,
                )

    def find(self, wanted: Objects) -> Found:
        """What is there. Documents cannot be listed: those are looked at that are wanted.

        Raises:
            SurroundingsError: Matchbox is out of reach, slow, or fails.
        """
        groups: dict[str, Group | None] = {g.id: g for g in map(group_of, self._list("Groups", "groups"))}
        profiles: dict[str, Profile | None] = {
            p.id: p for p in map(profile_of, self._list("Profiles", "profiles"))
        }
        # The lists go by what stands in the files, and leave out what cannot be read; what a Put would
        # overwrite goes by the name of the file.
        groups |= self._look("Groups", "group", group_of, (id_ for id_ in wanted.groups if id_ not in groups))
        profiles |= self._look(
            "Profiles", "profile", profile_of, (id_ for id_ in wanted.profiles if id_ not in profiles)
        )
        documents = self._each(self._document, wanted.ignition)
        return Found(groups, profiles, {name: found for name, found in documents if found is not None})

    def put(self, put: Put) -> None:
        """Write one object.

        Raises:
            SurroundingsError: as `find`.
        """
        match put.value:
            case Group():
                self._done(put, "Put", group=group_message(put.value))
            case Profile():
                self._done(put, "Put", profile=profile_message(put.value))
            case Document():
                self._done(put, "Put", name=put.id, config=put.value.make())

    def delete(self, delete: Delete) -> None:
        """Remove one object; that it is gone already is fine.

        Raises:
            SurroundingsError: as `find`.
        """
        with contextlib.suppress(_Missing):
            if delete.kind is Kind.IGNITION:
                self._done(delete, "Delete", name=delete.id)
            else:
                self._done(delete, "Delete", id=delete.id)

    def _done(self, what: Put | Delete, ending: str, **fields: object) -> None:
        try:
            self._call(_SERVICE[what.kind], ending, self._patience, **fields)
        except _Unreadable as error:
            verb = "take" if ending == "Put" else "delete"
            raise SurroundingsError(
                f"Matchbox at {self._address} did not {verb} {what.kind.value} {what.id}: {error}",
                hint="its log says more; its data directory has to be writable for it",
            ) from error

    def _list(self, service: str, field: str) -> list[Message]:
        try:
            answer = self._call(service, "List", max(self._patience, _LIST_PATIENCE))
        except _Missing:  # a data directory that is new has no such folder
            return []
        except _Unreadable as error:
            raise SurroundingsError(
                f"cannot push: Matchbox at {self._address} cannot list its {field}: {error}",
                hint="its log says more",
            ) from error
        return list(getattr(answer, field))

    def _look(
        self, service: str, field: str, convert: Callable[[Message], T], names: Iterable[str]
    ) -> dict[str, T | None]:
        """Files by these names that are there all the same; None for what cannot be read."""

        def one(name: str) -> tuple[T | None] | None:
            try:
                answer = self._call(service, "Get", self._patience, id=name)
            except _Missing:
                return None
            except _Unreadable:
                return (None,)
            return (convert(getattr(answer, field)),)

        return {name: found[0] for name, found in self._each(one, names) if found is not None}

    def _document(self, name: str) -> Stored | None:
        try:
            answer = self._call("Ignition", "Get", self._patience, name=name)
        except _Missing:
            return None
        except _Unreadable:
            return Stored("", marked=False)
        return stored_of(bytes(getattr(answer, "config")))  # noqa: B009 - a field that no type knows

    def _each(self, work: Callable[[str], U], names: Iterable[str]) -> list[tuple[str, U]]:
        chosen = list(names)
        pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="matchbox")
        try:
            return list(zip(chosen, pool.map(work, chosen), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure, thousands more would only meet it too

    def _call(self, service: str, ending: str, patience: float, **fields: object) -> Message:
        request = self._requests[service, ending](**fields)
        self._halt()
        try:
            return self._calls[service, ending](request, timeout=patience)
        except grpc.RpcError as error:
            # Documented, though not in the type: what a call raises is the call, with its status.
            raise self._failure(cast("grpc.Call", error), patience) from error

    def _failure(self, call: grpc.Call, patience: float) -> Exception:
        said = safe_text(str(call.details() or ""), limit=300)
        code, hint = call.code(), "its log says more"
        match code:
            case grpc.StatusCode.UNKNOWN | grpc.StatusCode.NOT_FOUND:
                return _Missing(said) if "no such file or directory" in said else _Unreadable(said)
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                what = f"no answer within {patience:g} s"
            case grpc.StatusCode.UNIMPLEMENTED:
                what, hint = "it does not know the call", "is it Matchbox that listens there?"
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                what = f"it is too large ({said})"
                hint = (
                    "Matchbox takes 4 MiB by gRPC: let a large Ignition fetch its files, or push a directory"
                )
            case grpc.StatusCode.UNAVAILABLE:
                what, hint = f"the connection failed ({said})", "it is tried again with the next push"
            case _:
                what = f"{code.name.lower().replace('_', ' ')} ({said})"
        return SurroundingsError(f"cannot push to Matchbox at {self._address}: {what}", hint=hint)


@contextlib.contextmanager
def connected(
    address: str, files: TlsFiles, patience: float = PATIENCE, halt: Callable[[], None] = lambda: None
) -> Iterator[GrpcTarget]:
    """A connection to HOST:PORT for the length of the block.

    `halt` is called before each call, and raises SurroundingsError where there is to be none.

    Raises:
        SurroundingsError: there is none to be had; the message names the file or the host that is to blame.
    """
    own = try_credentials(address, files, patience)
    credentials = grpc.ssl_channel_credentials(own.ca, own.key, own.cert)
    with grpc.secure_channel(address, credentials, options=_OPTIONS) as channel:
        yield GrpcTarget(channel, address, patience, halt)
