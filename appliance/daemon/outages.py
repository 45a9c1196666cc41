"""Since when something that all machines need is missing: a flap is no reason for a verdict. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from appliance.daemon.known import State

INTERFACE_AFTER: Final = timedelta(seconds=5)  # it is looked at every second
ENDPOINT_AFTER: Final = timedelta(seconds=22)  # it is asked every 15 s with 5 s of patience: two in a row
_ENDPOINT: Final = ""  # no network's name


def after_look(state: State, wall: datetime) -> State:
    """The state after somebody looked at an interface, or at the endpoint."""
    down = {
        name for name in state.served.settings.networks if name in state.interfaces and not state.usable(name)
    }
    if state.endpoint_reachable is False:
        down.add(_ENDPOINT)
    if down == state.down_since.keys():
        return state
    since = {key: state.down_since.get(key, wall) for key in down}
    return replace(state, down_since=MappingProxyType(since))


def interface_is_down(state: State, network: str, now: datetime) -> bool:
    """Whether a network's interface was unusable for so long that it counts."""
    since = state.down_since.get(network)
    return since is not None and now - since >= INTERFACE_AFTER


def endpoint_down_since(state: State, now: datetime) -> datetime | None:
    """Since when the endpoint does not answer; None while it does, or has failed to once."""
    since = state.down_since.get(_ENDPOINT)
    return since if since is not None and now - since >= ENDPOINT_AFTER else None
