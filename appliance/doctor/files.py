"""Judges owners and modes: who may change what is served, who may read what is secret. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from appliance.doctor.finding import Finding, doubtful, fine, wrong

# The names of credentials (systemd 252): one that is none keeps the whole unit from starting (measured).
_FIT = re.compile(r"[ -9;-~]{1,200}")
_NAMED = 10  # files in one finding's evidence


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it lies there. `kind` is file, directory, link, socket or other.

    `place` says whose it is: etc, state, run, tftp; `secret` that it holds what not everybody may read;
    `reachable` that every user of the host can come to it, as far as the directories above are concerned.
    """

    path: str
    place: str
    kind: str
    mode: int
    uid: int
    gid: int
    secret: bool = False
    reachable: bool = True
    target: str = ""  # of a link

    @property
    def quoted(self) -> str:
        """Its path for a line that root pastes: some of these names are the daemon's user's to choose."""
        return shlex.quote(self.path)

    @property
    def words(self) -> str:
        """As ls would begin its line."""
        return f"{self.path}: {self.kind}, mode {self.mode:04o}, owner {self.uid}:{self.gid}"


def judge_files(entries: Sequence[Entry], service: tuple[int, int] | None) -> Iterator[Finding]:
    """Every entry's owner and mode.

    Args:
        entries: what lies in the three directories of ours, and in the TFTP root.
        service: uid and gid of the state directory, which is the daemon's; None when there is none yet.
    """
    yield _judge_etc([e for e in entries if e.place == "etc"], service)
    if service is not None:
        yield _judge_state([e for e in entries if e.place in ("state", "tftp")], service)
        yield _judge_tftp([e for e in entries if e.place == "tftp"], service[0])
    yield _judge_run([e for e in entries if e.place == "run"])
    yield _judge_secrets([e for e in entries if e.secret])


def _listed(entries: Sequence[Entry]) -> tuple[str, ...]:
    more = [f"and {len(entries) - _NAMED} more"] if len(entries) > _NAMED else []
    return (*(e.words for e in entries[:_NAMED]), *more)


def _judge_etc(entries: Sequence[Entry], service: tuple[int, int] | None) -> Finding:
    open_to_all = [e for e in entries if e.kind in ("file", "directory") and e.mode & 0o002]
    if open_to_all:
        first = open_to_all[0]
        words = f"every user of this host can change {first.path}, and so what machines boot"
        return wrong("files-etc", words, f"chmod o-w {first.quoted}", *_listed(open_to_all))
    hidden = [
        e
        for e in entries
        if service and service[0] != 0 and not _readable(e, *service) and not _handed_over(e)
    ]
    if hidden:
        first = hidden[0]
        words = f"the daemon (uid {service[0] if service else 0}) cannot read {first.path}"
        fix = f"chgrp pxe-appliance {first.quoted} && chmod g+rX {first.quoted}"
        return wrong("files-etc", words, fix, *_listed(hidden))
    lent = [e for e in entries if service and service[0] != 0 and e.uid == service[0]]
    if lent:
        first = lent[0]
        words = f"{first.path} belongs to the daemon: whoever takes it over could change what machines boot"
        return doubtful("files-etc", words, f"chown root {first.quoted}", *_listed(lent))
    return fine("files-etc", "what the operator wrote is root's to change", f"{len(entries)} files looked at")


def _handed_over(entry: Entry) -> bool:
    """What systemd gives to the service as credentials: it need not be able to read it there."""
    return "/etc/pxe-appliance/secrets.d" in entry.path


def _readable(entry: Entry, uid: int, gid: int) -> bool:
    need = 0o5 if entry.kind == "directory" else 0o4
    if entry.kind not in ("file", "directory"):
        return True
    shift = 6 if entry.uid == uid else 3 if entry.gid == gid else 0
    return (entry.mode >> shift) & need == need


def _judge_state(entries: Sequence[Entry], service: tuple[int, int]) -> Finding:
    foreign = [e for e in entries if e.uid != service[0]]
    loose = [e for e in entries if e.kind in ("file", "directory") and e.mode & 0o002]
    if foreign:
        first = foreign[0]
        words = (
            f"{first.path} belongs to uid {first.uid}, the state to uid {service[0]}: the daemon cannot go on"
        )
        fix = f"chown -hR {service[0]}:{service[1]} {first.quoted}"
        return wrong("files-state", words, fix, *_listed(foreign))
    if loose:
        words = f"every user of this host can change {loose[0].path}"
        return wrong("files-state", words, f"chmod o-w {loose[0].quoted}", *_listed(loose))
    owner = f"uid {service[0]}, {len(entries)} files looked at"
    return fine("files-state", "the state belongs to the daemon's user", owner)


def _judge_run(entries: Sequence[Entry]) -> Finding:
    loose = [e for e in entries if e.kind != "link" and e.mode & (0o006 if e.kind == "socket" else 0o002)]
    if loose:
        first = loose[0]
        words = f"every user of this host can use {first.path}"
        fix = f"chmod o= {first.quoted}" if first.kind == "socket" else f"chmod o-w {first.quoted}"
        return wrong("files-run", words, fix, *_listed(loose))
    return fine("files-run", "the run directory is closed to others", *_listed(entries))


def _judge_secrets(entries: Sequence[Entry]) -> Finding:
    unfit = [e for e in entries if _handed_over(e) and not _FIT.fullmatch(e.path.rpartition("/")[2])]
    if unfit:
        first = unfit[0]
        words = f"systemd cannot hand over {first.path!r} for its name: the service would not start again"
        fix = f"mv {first.quoted} to a name of ASCII letters, digits, dots and dashes"
        return wrong("files-secrets", words, fix, *_listed(unfit))
    told = [e for e in entries if e.kind == "file" and e.reachable and e.mode & 0o004]
    if told:
        first = told[0]
        words = f"every user of this host can read {first.path}, which can hold secrets"
        # An operator's own files are as his umask made them; what is ours never is open to all.
        judge = doubtful if all("/ignition.d/" in e.path for e in told) else wrong
        return judge("files-secrets", words, f"chmod o= {' '.join(e.quoted for e in told)}", *_listed(told))
    return fine("files-secrets", "no secret is open to every user", f"{len(entries)} files looked at")


def _judge_tftp(entries: Sequence[Entry], owner: int) -> Finding:
    """dnsmasq follows links out of its root (measured); tftp-secure: only files of its own user."""
    links = [e for e in entries if e.kind == "link"]
    if links:
        first = links[0]
        words = (
            f"{first.path} is a link to {first.target}, and dnsmasq follows it: it serves that to everybody"
        )
        return wrong("files-tftp", words, f"rm {first.quoted}", *_listed(links))
    special = [e for e in entries if e.kind not in ("file", "directory")]
    if special:
        words = f"{special[0].path} is no plain file"
        return wrong("files-tftp", words, f"rm {special[0].quoted}", *_listed(special))
    unread = [e for e in entries if e.uid != owner or not _readable(e, owner, -1)]
    if unread:
        first = unread[0]
        words = f"dnsmasq does not serve {first.path}: it is not its user's, or not readable"
        return wrong(
            "files-tftp",
            words,
            f"chown {owner} {first.quoted} && chmod u+rX,go+rX {first.quoted}",
            *_listed(unread),
        )
    return fine("files-tftp", f"the TFTP root holds {len(entries)} plain files", *_listed(entries))
