"""Before the first packet is served: does another DHCP server answer where we are to own addressing?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

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

_LIMIT = 1 << 20


async def look_first(paths: Paths, rhythm: Rhythm, stop: asyncio.Event) -> bool:
    """Ask on every network that is ours and was not served a moment ago; all at once, some four seconds.

    A network whose interface is not ready is not asked on: the watch asks when it is, and tells.

    Returns:
        whether to go on; not when `stop` was set meanwhile.

    Raises:
        Refused: another server answers, and nobody wrote that it may.
    """
    networks = await asyncio.to_thread(_to_ask_on, paths)
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


def _to_ask_on(paths: Paths) -> list[NetworkSettings]:
    """The networks of the settings and of the generation that is served first, each interface once.

    Whether others may be there, the operator's file says now; the generation may be of before that.
    """
    lately = ServedLately(Path(paths.served_lately))
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
    return [n for n in found.values() if not lately.has(n) and _usable(n)]


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
        return seen.present and seen.up and seen.holds(network.address)
    return False
