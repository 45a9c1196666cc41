"""Makes QEMU's BIOS network ROM look like the plain PXE ROM of a real server.

Debian's ROMs are iPXE and say so (user class `iPXE`, option 175), so that a DHCP server rightly skips the
first stage. Real servers have no such ROM. This relay sits between a machine's tap and the bridge and takes
those two options out of what the ROM sends; once the ROM asks TFTP for its boot file, the tap joins the
bridge itself and everything from the first stage on travels untouched.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from appliance.boot.dhcp_packet import CLIENT_PORT, SERVER_PORT, Option, without_options
from appliance.lab.frames import read_udp

_TELLTALE: Final = (Option.USER_CLASS, Option.IPXE)
_TFTP_PORT: Final = 69
_LONGEST_FRAME: Final = 2048
_POLL: Final = 0.25  # seconds between two looks at `stop`


def as_plain_rom(frame: bytes) -> bytes:
    """`frame` as a plain PXE ROM would have sent it; all but a client's DHCP message passes unchanged."""
    udp = read_udp(frame)
    if udp is None or (udp.sport, udp.dport) != (CLIENT_PORT, SERVER_PORT):
        return frame
    try:
        return replace(udp, payload=without_options(udp.payload, _TELLTALE)).encode()
    except ValueError:
        return frame


def asks_for_boot_file(frame: bytes) -> bool:
    """Whether `frame` is the ROM's first word to a TFTP server: its own DHCP is over."""
    udp = read_udp(frame)
    return udp is not None and udp.dport == _TFTP_PORT


def relay(
    tap: socket.socket,
    leg: socket.socket,
    bridge: socket.socket,
    join: Callable[[], None],
    stop: threading.Event,
) -> None:
    """Carry frames between a machine and the wire until its ROM asks for the boot file, or `stop` is set.

    Args:
        tap: packet socket on the machine's tap, which is not yet a port of the bridge.
        leg: packet socket on the outer end of a veth whose other end is a port of the bridge.
        bridge: packet socket on the bridge. The request for the boot file goes out here, because a bridge
            learns no address from what its own host sends: the answer then finds the new port.
        join: makes the tap a port of the bridge, and takes the veth away.
    """
    while not stop.is_set():
        for ready in select.select([tap, leg], [], [], _POLL)[0]:
            frame, address = ready.recvfrom(_LONGEST_FRAME)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            if ready is leg:
                _pass_on(tap, frame)
            elif asks_for_boot_file(frame):
                join()
                _pass_on(bridge, frame)
                return
            else:
                _pass_on(leg, as_plain_rom(frame))


def _pass_on(to: socket.socket, frame: bytes) -> None:
    """Send, or drop as a wire would: a tap whose machine is off has no carrier."""
    try:
        to.send(frame)
    except OSError:
        return
