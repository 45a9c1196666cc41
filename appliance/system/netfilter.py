"""The host's packet filter: our one table by nft(8), and by netlink whether anybody changed any."""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from typing import Final

from appliance.errors import SurroundingsError
from appliance.system.command import run

FAMILY: Final = "inet"
TABLE: Final = "pxe-appliance"  # ours; no other is ever touched
_NETLINK_NETFILTER: Final = 12
_REQUEST: Final = 0x1
_GET_GENERATION: Final = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN (linux/netfilter/nf_tables.h)
_HEADER: Final = struct.Struct("=IHHII")
_ANY_FAMILY: Final = bytes(4)  # struct nfgenmsg
_GENERATION_ID: Final = 1
_ERROR: Final = 2
_SECONDS: Final = 1.0
_PATIENCE: Final = 10.0  # seconds for nft: another may hold the rules' lock
_ATTEMPTS: Final = 4  # to read back what was put up before anybody else changes a rule


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the kernel has it: what stands in it, and what its counters say by the rules' comments."""

    content: str
    packets: dict[str, int]


def generation() -> int | None:
    """The number that grows with every change of any rule of this network namespace; None when not told."""
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        ) as channel:
            channel.settimeout(_SECONDS)
            length = _HEADER.size + len(_ANY_FAMILY)
            channel.send(_HEADER.pack(length, _GET_GENERATION, _REQUEST, 1, 0) + _ANY_FAMILY)
            answer = channel.recv(4096)
    except OSError:  # no such protocol, or no right to ask
        return None
    if len(answer) < 28 or _HEADER.unpack_from(answer)[1] == _ERROR:
        return None
    length, kind = struct.unpack_from("=HH", answer, 20)
    if kind != _GENERATION_ID or length != 8:
        return None
    value: int = struct.unpack_from("!I", answer, 24)[0]
    return value


def load(ruleset: str) -> None:
    """Take a ruleset to the kernel, in one transaction.

    Raises:
        SurroundingsError: nft is not installed, or the kernel does not take it.
    """
    run(["nft", "-f", "-"], timeout=_PATIENCE, input=ruleset.encode())


def put_up(ruleset: str, family: str, name: str) -> tuple[Table, int | None]:
    """Take a ruleset to the kernel and read back its table as nobody but us has made it.

    A change by somebody else between the two would be read back as ours. The kernel counts transactions: a
    number that grew by one rules that out, and where it grew further the ruleset is taken there again. Where
    no number is told, two readings in a row have to be the same.

    Returns:
        The table, and the number of that state (`generation`).

    Raises:
        SurroundingsError: nft is not installed, the kernel refuses, or others change the rules all the time.
    """
    earlier: str | None = None
    for _ in range(_ATTEMPTS):
        before = generation()
        load(ruleset)
        found, number = table(family, name), generation()
        if found is None:
            continue
        alone = found.content == earlier if before is None else number == before + 1
        if alone:
            return found, number
        earlier = found.content
    if earlier is None:
        raise SurroundingsError(f"table {family} {name} is not there after it was put up")
    words = f"table {family} {name} was put up, and others change rules as often as it is read back"
    raise SurroundingsError(f"{words}: that it is ours alone cannot be seen")


def table(family: str, name: str) -> Table | None:
    """A table as it is now; None when it is not there.

    Raises:
        SurroundingsError: nft is not installed, or does not answer.
    """
    done = run(["nft", "-j", "list", "table", family, name], timeout=_PATIENCE, check=False)
    if done.rc != 0:
        return None
    try:
        entries = json.loads(done.stdout)["nftables"]
        return _read(entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SurroundingsError(f"cannot understand nft: {error}") from error


def delete(family: str, name: str) -> None:
    """Take a table away, if it is there; what cannot be taken away stays."""
    run(["nft", "delete", "table", family, name], timeout=_PATIENCE, check=False)


def _read(entries: list[dict[str, dict[str, object]]]) -> Table:
    content: list[object] = []
    packets: dict[str, int] = {}
    for entry in entries:
        (kind, facts) = next(iter(entry.items()))
        if kind == "metainfo":
            continue
        expressions = facts.get("expr")
        if isinstance(expressions, list):
            for expression in expressions:
                if "counter" in expression:
                    words = str(facts.get("comment", ""))
                    packets[words] = packets.get(words, 0) + int(expression["counter"]["packets"])
                    expression["counter"] = None
        if "timeout" in facts:  # a set that the kernel itself adds to
            facts.pop("elem", None)
        elif isinstance(elements := facts.get("elem"), list):  # in the order of a hash, which may grow
            elements.sort(key=json.dumps)
        content.append([kind, {k: v for k, v in facts.items() if k != "handle"}])
    return Table(json.dumps(content, sort_keys=True), packets)
