"""What one request costs with 10, 1,000 and 10,000 groups: selection, and the whole answer to /ipxe.

Run: python -m bench.matchbox_select. Prints nanoseconds and ratios; the ratios are what matters, the
nanoseconds are this machine's.
"""

from __future__ import annotations

import sys
import timeit

from appliance.matchbox.answer import World, answer
from appliance.matchbox.labels import parse_query
from appliance.matchbox.model import Boot, Group, Profile
from appliance.matchbox.request import RequestKind
from appliance.matchbox.snapshot import Snapshot

SIZES = (10, 1_000, 10_000)
ROUNDS = 5_000


def world_of(size: int) -> World:
    """`size` groups that select by MAC, and a default group."""
    macs = (f"52:54:00:{i >> 16:02x}:{i >> 8 & 255:02x}:{i & 255:02x}" for i in range(size))
    groups = [Group(f"g{i}", "p", {"mac": mac}, file=f"groups/{i}.json") for i, mac in enumerate(macs)]
    groups.append(Group("default", "p", file="groups/default.json"))
    return World(Snapshot.of(groups, {"p": Profile("p", boot=Boot("/assets/k", ("/assets/i",)))}, {}))


def measure(size: int) -> tuple[float, float]:
    """Nanoseconds per selection and per answer, the best of five runs."""
    world = world_of(size)
    raw = f"uuid=u&mac=52-54-00-00-00-{size - 1 & 255:02x}&domain=&hostname=&serial=&arch=x86_64"
    labels = parse_query(raw).labels

    def select() -> None:
        world.snapshot.index.best(labels)

    def whole() -> None:
        answer(world, RequestKind.SCRIPT, parse_query(raw), "127.0.0.1", None)

    best = [min(timeit.repeat(work, number=ROUNDS, repeat=5)) / ROUNDS * 1e9 for work in (select, whole)]
    return best[0], best[1]


def main() -> None:
    """Measure and print."""
    found = {size: measure(size) for size in SIZES}
    base = found[SIZES[0]]
    write = sys.stdout.write
    write(f"{'groups':>8} {'select ns':>10} {'ratio':>6} {'answer ns':>10} {'ratio':>6}\n")
    for size, (selection, whole) in found.items():
        ratios = selection / base[0], whole / base[1]
        write(f"{size:>8} {selection:>10.0f} {ratios[0]:>6.2f} {whole:>10.0f} {ratios[1]:>6.2f}\n")


if __name__ == "__main__":
    main()
