"""Before the first packet is served: does another DHCP server answer where we are to own addressing?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

from appliance.daemon.claims import holder
from appliance.daemon.question import Rhythm, ask_now
from appliance.daemon.rogues import as_rogues, words_about
from appliance.daemon.served_lately import ServedLately
from appliance.errors import ApplianceError, Refused
from appliance.inventory.load import load_settings
from appliance.paths import Paths
from appliance.settings import NetworkMode, NetworkSettings, OtherServers, Settings
from appliance.settings_parse import parse_settings
from appliance.system.clock import now
from appliance.system.files import read_regular
from appliance.system.network import interface_state
from appliance.system.notify import notify
from appliance.system.safety import dangers, judge

_LIMIT = 1 << 20


async def look_first(paths: Paths, rhythm: Rhythm, stop: asyncio.Event) -> bool:
    """Ask on every network that is ours and was not served a moment ago; all at once, some four seconds.

    A network whose interface is not ready is not asked on: the watch asks when it is, and tells.

    Returns:
        whether to go on; not when `stop` was set meanwhile.

    Raises:
        Refused: another server answers, and nobody wrote that it may; or nothing may be served at all.
    """
    await asyncio.to_thread(_refuse_unsafe, paths)
    ours = await asyncio.to_thread(_to_own, paths)
    _refuse_served(ours)
    networks = await asyncio.to_thread(_to_ask_on, paths, ours)
    if not networks:
        return True
    notify("STATUS=looking for other DHCP servers")
    look = asyncio.create_task(_look(paths, networks, rhythm), name="first look")
    stopped = asyncio.create_task(stop.wait(), name="asked to stop")
    try:
        await asyncio.wait({look, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not look.done():
            return False
        look.result()
        return True
    finally:
        for task in (look, stopped):
            task.cancel()
        await asyncio.gather(look, stopped, return_exceptions=True)


def _refuse_unsafe(paths: Paths) -> None:
    """Stop before anything is sent where no network is safe; of several, the daemon withholds the unsafe."""
    known = [settings for settings in (_kept(paths), _written(paths)) if settings is not None]
    found = [dangers(settings.networks.values()) for settings in known]
    if known and all(
        bad.keys() == settings.networks.keys() for bad, settings in zip(found, known, strict=True)
    ):
        worst = list(found[-1].values())
        raise Refused(f"cannot serve: {'; '.join(d.message for d in worst)}", hint=worst[0].fix)


async def _look(paths: Paths, networks: Iterable[NetworkSettings], rhythm: Rhythm) -> None:
    found = await asyncio.gather(*(_others_on(network, rhythm) for network in networks))
    named = sorted({words for several in found for words in several})
    if named:
        raise Refused(
            f"cannot serve: {'; '.join(named)}",
            hint=f'find its switch port by its MAC and stop it; or write other_servers = "tell" under '
            f"[network.NAME] in {paths.settings} to serve beside it",
        )


async def _others_on(network: NetworkSettings, rhythm: Rhythm) -> list[str]:
    with contextlib.suppress(OSError):  # not there, down, or a port that is taken: status tells
        servers = await ask_now(network.interface, rhythm)
        return [words_about(rogue, network) for rogue in as_rogues(network, servers, now())]
    return []


def _refuse_served(networks: Iterable[NetworkSettings]) -> None:
    """Stop where another of our daemons serves on this host: no packet tells its answers from ours."""
    found = {network.interface: pid for network in networks if (pid := holder(network.interface))}
    if found:
        words = ", ".join(f"{interface} (process {pid})" for interface, pid in sorted(found.items()))
        pids = ",".join(map(str, sorted(set(found.values()))))
        raise Refused(
            f"cannot serve: another pxe-appliance answers DHCP on {words}",
            hint=f"stop it (ps -fp {pids}), or leave the interface to it",
        )


def _to_ask_on(paths: Paths, networks: Iterable[NetworkSettings]) -> list[NetworkSettings]:
    """Those that were not served a moment ago and are ready."""
    lately = ServedLately(Path(paths.served_lately))
    return [n for n in networks if not lately.has(n) and _usable(n)]


def _to_own(paths: Paths) -> list[NetworkSettings]:
    """The networks of the settings and of the generation that is served first, each interface once.

    Whether others may be there, the operator's file says now; the generation may be of before that.
    """
    written, kept = _written(paths), _kept(paths)
    allowed = {
        name: network.other_servers
        for settings in (kept, written)
        if settings is not None
        for name, network in settings.networks.items()
    }
    found = {
        network.interface: network
        for settings in (kept, written)
        if settings is not None
        for network in settings.networks.values()
        if network.mode is NetworkMode.DHCP and allowed[network.name] is OtherServers.REFUSE
    }
    return list(found.values())


def _written(paths: Paths) -> Settings | None:
    with contextlib.suppress(ApplianceError):  # said again, and better, by whoever needs them
        return load_settings(paths)
    return None


def _kept(paths: Paths) -> Settings | None:
    path = Path(paths.current / "appliance.toml")
    with contextlib.suppress(OSError, ApplianceError, ValueError):
        return parse_settings(read_regular(path, _LIMIT).decode(), str(path))
    return None


def _usable(network: NetworkSettings) -> bool:
    with contextlib.suppress(OSError):
        seen = interface_state(network.interface)
        return seen.present and seen.up and seen.holds(network.address) and judge(network, seen) is None
    return False
