"""What is given to whom: the endpoint's questions, answered from lives, leases, neighbours and tokens."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath

import pytest

from appliance.addresses import Mac
from appliance.boot.events import EventKind
from appliance.boot.ladder import Ladder, climb
from appliance.boot.policy import BootPolicy, Cue, Life
from appliance.daemon import signals as s
from appliance.daemon.admission import NO_LEASE
from appliance.daemon.arming import Arming
from appliance.daemon.giving import Giving, Override
from appliance.daemon.images import Images
from appliance.daemon.leases import Lease
from appliance.daemon.served import Served
from appliance.inventory.model import Profile
from appliance.matchbox.request import BootRequest, Deny, Instead, LocalBoot, RequestKind, Script
from appliance.paths import Paths
from appliance.settings import Access, MatchboxSettings, NetworkMode
from tests.unit.daemon.rooms import AT, LAB, MAC, PXE, WORKER, event, rack, served

R = RequestKind
IP1, IP2, NOBODY = "172.0.1.21", "172.0.1.22", "172.0.1.99"
HERE = str(PXE.address)
TOKEN = re.compile(r"token=([A-Za-z0-9_-]{24})")
STAGES = (EventKind.DISCOVER, EventKind.OFFER, EventKind.REQUEST, EventKind.ACK)


@dataclass
class Rack:
    """What the decider knows, a clock set by hand, and the neighbours that the kernel would name."""

    tmp: Path
    now: Served = field(default_factory=served)
    at: datetime = AT
    lives: dict[str, Life] = field(default_factory=dict)
    ladders: dict[str, Ladder] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    strays: set[Mac] = field(default_factory=set)
    neighbours: dict[str, str] = field(default_factory=lambda: {IP1: str(MAC), IP2: "52:54:00:aa:00:02"})
    said: list[s.Signal] = field(default_factory=list)
    giving: Giving = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        images = Images(Paths(PurePosixPath(self.tmp)), lambda _client: "")
        self.arming = Arming(self.said.append)
        look = lambda address, _interface: self.neighbours.get(str(address))  # noqa: E731
        self.giving = Giving(self, images, self.arming, lambda: self.at, look)

    # ---- giving.Known ----

    def served(self) -> Served:
        return self.now

    def life(self, machine: str) -> Life:
        return self.lives.get(machine, Life())

    def ladder(self, machine: str) -> Ladder | None:
        return self.ladders.get(machine)

    def lease(self, address: IPv4Address) -> Lease | None:
        return self.leases.get(str(address))

    def strangers(self) -> Container[Mac]:
        return self.strays

    # ---- what happens ----

    def boot(self, name: str = "node1") -> None:
        """A machine asks for its address at this moment."""
        machine, ladder = self.now.machines[name], Ladder()
        for kind in STAGES:
            ladder = climb(ladder, replace(event(kind, name, detail={"stage": "firmware"}), at=self.at))
        self.ladders[name] = ladder
        until = self.at + timedelta(hours=1)
        self.leases[str(machine.ip)] = Lease(machine.ip, machine.mac, name, "pxe", self.at, until)

    def ask(
        self,
        kind: RequestKind,
        client: str = IP1,
        machine: str | None = "node1",
        *,
        boots: bool = True,
        **labels: str,
    ) -> Override:
        return self.giving.resolve(BootRequest(kind, client, labels, machine, boots=boots))

    def args(self, client: str = IP1) -> str:
        """The kernel's arguments of node1's script."""
        found = self.ask(R.SCRIPT, client)
        assert isinstance(found, Instead), found
        return " ".join(found.boot.args)

    def token(self) -> str:
        found = TOKEN.search(self.args())
        assert found
        return found[1]

    def reads(self, token: str, client: str = IP1, machine: str | None = "node1") -> str:
        """Why node1's Ignition is not read from there with that token; empty when it is."""
        found = self.ask(R.IGNITION, client, machine, token=token)
        assert found is None or isinstance(found, Deny)
        return found.reason if found else ""

    def reports(self, token: str, client: str = IP1) -> str:
        """Why a report of node1 is not believed; empty when it is."""
        return self.giving.why_not_report(client, self.now.machines["node1"], token)

    def use(self, profile: Profile = WORKER, **matchbox: object) -> None:
        inventory = replace(self.now.inventory, profiles={"worker": profile})
        settings = replace(self.now.settings, matchbox=MatchboxSettings(**matchbox))  # type: ignore[arg-type]
        self.now = replace(self.now, inventory=inventory, settings=settings)


@pytest.fixture
def room(tmp_path: Path) -> Rack:
    made = Rack(tmp_path)
    made.boot()
    return made


def reason(found: Override) -> str:
    assert isinstance(found, Deny), found
    return found.reason


# ---- scripts ----


def test_a_machine_s_own_script_has_its_mac_and_a_token_that_opens_its_ignition(room: Rack) -> None:
    args = room.args()
    token = room.token()
    assert f"ignition.config.url=http://{HERE}:8080/ignition?mac=52-54-00-aa-00-01&token={token}" in args
    assert "${" not in args
    assert room.reads(token) == ""
    assert room.token() == token, "the same boot, the same token"


def test_the_script_of_another_machine_has_no_token(room: Rack) -> None:
    room.boot("node2")
    for client in (IP2, NOBODY, HERE, "10.0.0.1"):
        assert "token" not in room.args(client)
    assert room.said == [], "nobody is armed by somebody else"


def test_who_has_the_address_alone_is_refused_when_it_boots_and_gets_no_token_when_it_looks(
    room: Rack,
) -> None:
    for leases, neighbour, why in (
        ({}, str(MAC), "no lease of node1"),
        (dict(room.leases), "52:54:00:aa:00:02", "which is node2's"),
    ):
        room.leases, room.neighbours[IP1] = leases, neighbour
        refused = room.ask(R.SCRIPT)
        assert why in reason(refused)
        assert isinstance(refused, Deny)
        assert refused.code == "not-itself"
        looked = room.ask(R.SCRIPT, boots=False)
        assert isinstance(looked, Instead)
        assert "token" not in " ".join(looked.boot.args)
        assert why in room.reads("x")
    assert room.said == []


def test_a_boot_belongs_to_the_neighbour_that_asked_first(room: Rack) -> None:
    room.use(ignition=Access.LEASE)
    token = room.token()
    room.neighbours[IP1] = "00:1b:21:0a:0b:0c"
    assert "did when this boot asked first" in reason(room.ask(R.SCRIPT))
    assert room.reads(token) == "", "it has the token: it heard the script, or the network does proxy ARP"


def test_a_boot_that_began_long_ago_gets_no_token(room: Rack) -> None:
    room.at += timedelta(minutes=31)
    refused = room.ask(R.SCRIPT)
    assert "began to boot more than 30 minutes ago" in reason(refused)
    assert isinstance(refused, Deny)
    assert not refused.code, "it is the machine"
    room.boot()
    assert room.token()


def test_the_window_begins_with_the_script(room: Rack) -> None:
    token = room.token()
    room.at += timedelta(minutes=30)
    assert room.reads(token) == ""
    room.at += timedelta(seconds=1)
    assert "more than 30 minutes ago" in room.reads(token)


def test_a_call_home_closes_and_a_new_boot_opens(room: Rack) -> None:
    token = room.token()
    room.arming.close("node1")
    assert "called home" in room.reads(token)
    assert "called home" in reason(room.ask(R.SCRIPT)), "else any process of it would get another one"
    room.at += timedelta(minutes=2)
    room.boot()
    again = room.token()
    assert again != token
    assert room.reads(again) == ""
    assert "not that of this boot" in room.reads(token)


@pytest.mark.parametrize(
    ("client", "machine", "why"),
    [
        (IP2, "node1", "172.0.1.22 is node2's address"),
        (NOBODY, "node1", "172.0.1.99 is no machine's address"),
        (HERE, "node1", "this host asks"),
        ("10.0.0.1", "node1", "no machine's address"),
        ("::1", "node1", "no machine's address"),
        ("", "node1", "no machine's address"),
        (IP1, "node2", "172.0.1.21 is node1's address"),
    ],
)
def test_nobody_else_reads_it_with_the_right_token(room: Rack, client: str, machine: str, why: str) -> None:
    token = room.token()
    assert why in room.reads(token, client, machine)
    assert token not in room.reads(token, client, machine)


def test_the_machine_reads_nothing_without_its_token(room: Rack) -> None:
    room.token()
    assert "has no token" in reason(room.ask(R.IGNITION))
    assert "not that of this boot" in room.reads("A" * 24)


def test_a_profile_without_ignition_needs_no_lease_and_makes_old_tokens_worthless(room: Rack) -> None:
    token = room.token()
    room.use(replace(WORKER, ignition=None))
    assert "token" not in room.args()
    assert room.giving.why_not_report(IP1, room.served().machines["node1"], "") == ""
    room.leases.clear()
    assert "token" not in room.args()
    assert "no lease" in room.giving.why_not_report(IP1, room.served().machines["node1"], "")
    room.use()
    room.boot()
    assert "not that of this boot" in room.reads(token)


@pytest.mark.parametrize("access", [Access.ARMED, Access.LEASE])
def test_a_report_is_the_machine_s_by_lease_neighbour_and_token(room: Rack, access: Access) -> None:
    room.use(ignition=access)
    assert "has no token" in room.reports("")
    token = room.token()
    assert room.reports(token) == ""
    assert "not that of the machine's last boot" in room.reports("A" * 24)
    room.arming.close("node1")
    assert room.reports(token) == "", "it may report again after it has called home"
    room.neighbours[IP1] = "52:54:00:aa:00:02"
    assert "which is node2's" in room.reports(token)
    room.neighbours[IP1] = str(MAC)
    room.leases.clear()
    assert room.reports(token).startswith(NO_LEASE), "its next lease mends that: it may ask again"


def test_a_report_where_nobody_has_a_token(room: Rack) -> None:
    """With another's endpoint, lease and neighbour have to do; opted out, the address."""
    room.use(endpoint="http://matchbox.example.com:8080")
    assert room.reports("") == ""
    room.leases.clear()
    assert room.reports("").startswith(NO_LEASE)
    room.use(ignition=Access.OPEN)
    assert room.reports("") == ""


def test_a_held_machine_reads_nothing(room: Rack) -> None:
    token = room.token()
    room.lives["node1"] = Life().after(Cue.HOLD, AT, reason="x")
    assert "held" in room.reads(token)


def test_open_opts_out(room: Rack) -> None:
    room.use(ignition=Access.OPEN)
    room.leases.clear()
    assert "token" not in room.args()
    for client in (IP1, IP2, NOBODY, HERE):
        assert room.reads("", client) == ""
        for kind in (R.METADATA, R.GENERIC, R.CLOUD):
            assert room.ask(kind, client) is None
    assert room.said == []


def test_a_mac_that_nobody_knows_is_refused_but_for_switches_that_answer_for_all(room: Rack) -> None:
    room.neighbours[IP1] = "00:1b:21:0a:0b:0c"
    room.use(ignition=Access.LEASE)
    assert room.token()
    room.use()
    room.boot()
    assert "which is no machine's" in reason(room.ask(R.SCRIPT))


def test_a_stranger_that_asked_for_an_address_and_took_a_machine_s_is_refused(room: Rack) -> None:
    room.neighbours[IP1] = "00:1b:21:0a:0b:0c"
    room.strays.add(Mac.parse("00:1b:21:0a:0b:0c"))
    assert "which is no machine's" in reason(room.ask(R.SCRIPT))


def test_an_operator_s_own_argument_carries_the_token_too(room: Rack) -> None:
    own = f"coreos.inst.ignition_url=http://{HERE}:8080/ignition"
    room.use(replace(WORKER, args=(own,)))
    args = room.args()
    assert len(set(TOKEN.findall(args))) == 1
    assert f"{own}?mac=52-54-00-aa-00-01&token=" in args


def test_the_nic_that_asks_is_the_one_that_is_named(room: Rack) -> None:
    node2 = replace(rack()[1], profile="worker")
    room.now = served(machines=(rack()[0], node2))
    room.boot("node2")
    found = room.ask(R.SCRIPT, IP2, "node2", mac="52:54:00:aa:00:12")
    assert isinstance(found, Instead)
    assert "mac=52-54-00-aa-00-12&token=" in " ".join(found.boot.args)


def test_grub_reads_a_token_as_it_has_to_be_written_for_it(room: Rack) -> None:
    found = room.ask(R.GRUB)
    assert isinstance(found, Instead)
    assert "mac=52-54-00-aa-00-01\\&token=" in " ".join(found.boot.args)


# ---- lives ----


def installed() -> Life:
    return Life().after(Cue.INSTALLED, AT)


@pytest.mark.parametrize("kind", [R.CHAIN, R.SCRIPT, R.GRUB])
def test_an_installed_machine_is_never_given_the_installer(room: Rack, kind: RequestKind) -> None:
    room.lives["node1"] = installed()
    for client in (IP1, IP2, NOBODY, HERE):
        found = room.ask(kind, client, None if kind is R.CHAIN else "node1")
        if kind is R.CHAIN and client != IP1:
            continue  # whoever that is, it is not node1
        to_disk = isinstance(found, LocalBoot) or (isinstance(found, Script) and found.to == "disk")
        assert to_disk, (client, found)


@pytest.mark.parametrize("kind", [R.CHAIN, R.SCRIPT, R.GRUB])
@pytest.mark.parametrize("policy", BootPolicy)
def test_a_held_machine_is_given_nothing_and_told_why(
    room: Rack, kind: RequestKind, policy: BootPolicy
) -> None:
    room.use(replace(WORKER, boot=policy))
    room.lives["node1"] = Life().after(Cue.HOLD, AT, reason="disk ${3} is broken\nshell")
    found = room.ask(kind, machine=None if kind is R.CHAIN else "node1")
    assert isinstance(found, Script)
    assert found.to == "held"
    assert "disk   3  is broken shell" in found.text
    assert "machine release node1" in found.text
    assert "kernel" not in found.text
    assert "shell" not in found.text.splitlines()


def test_the_third_install_is_held_before_anything_knows_it(room: Rack) -> None:
    """The event of it comes after the answer: the answer itself must be the last word."""
    life = Life()
    for minute in (0, 1):
        room.at = AT + timedelta(minutes=minute)
        room.boot()
        room.lives["node1"] = life
        assert room.token()
        life = life.after(Cue.SERVED, room.at, boot=room.at)
    room.at = AT + timedelta(minutes=2)
    room.boot()
    room.lives["node1"] = life
    for kind in (R.CHAIN, R.SCRIPT):
        found = room.ask(kind, machine="node1" if kind is R.SCRIPT else None)
        assert isinstance(found, Script)
        assert (found.to, found.reason) == ("held", "install 3 within 20 minutes without a call home")


def test_a_machine_asks_on_and_others_get_matchbox_s_own_script(room: Rack) -> None:
    found = room.ask(R.CHAIN, machine=None)
    assert isinstance(found, Script)
    assert "chain ipxe?" in found.text
    assert found.to == ""
    for client in (NOBODY, HERE, "10.0.0.1"):
        assert room.ask(R.CHAIN, client, None) is None


def test_with_an_external_endpoint_the_machine_is_sent_there_and_its_life_still_counts(room: Rack) -> None:
    room.use(endpoint="http://matchbox.example.com:8080")
    found = room.ask(R.CHAIN, machine=None)
    assert isinstance(found, Script)
    assert "chain http://matchbox.example.com:8080/ipxe?" in found.text
    room.lives["node1"] = installed()
    assert room.ask(R.CHAIN, machine=None) == LocalBoot()


# ---- an operator's own groups ----


@pytest.mark.parametrize("kind", [R.IGNITION, R.GENERIC, R.CLOUD, R.METADATA])
def test_documents_of_groups_are_for_this_host_and_for_machines(room: Rack, kind: RequestKind) -> None:
    assert room.ask(kind, HERE, None) is None
    assert room.ask(kind, IP1, None) is None
    assert "no machine's address" in reason(room.ask(kind, NOBODY, None))
    room.leases.clear()
    assert "no lease" in reason(room.ask(kind, IP1, None))


def test_metadata_of_a_machine_is_for_itself_and_for_this_host(room: Rack) -> None:
    assert room.ask(R.METADATA) is None
    assert room.ask(R.METADATA, HERE) is None
    assert "node2's address" in reason(room.ask(R.METADATA, IP2))


def test_scripts_of_groups_and_assets_are_nobody_s_secret(room: Rack) -> None:
    for kind in (R.SCRIPT, R.GRUB):
        assert room.ask(kind, NOBODY, None) is None
    assert room.ask(R.HOME, NOBODY, None) is None


# ---- what is told, and who asks ----


def test_ipxe_is_told_why_and_a_stranger_no_more_than_that(room: Rack) -> None:
    told = room.giving.tell(IP1, "no lease of node1 ${x}\nshell")
    assert told is not None
    assert "no lease of node1" in told
    assert "\nshell" not in told
    stranger = room.giving.tell(NOBODY, "172.0.1.99 is no machine's address; node1 has the secret")
    assert stranger is not None
    assert "node1" not in stranger
    assert "not known here" in stranger
    assert room.giving.tell("10.0.0.1", "x") is None
    assert room.giving.tell("::1", "x") is None


def test_where_another_server_gives_the_addresses_the_neighbour_is_the_machine(room: Rack) -> None:
    room.now = served((replace(PXE, mode=NetworkMode.PROXY), LAB))
    room.leases.clear()
    room.neighbours = {NOBODY: str(MAC), IP1: "00:1b:21:0a:0b:0c"}
    found = room.ask(R.SCRIPT, NOBODY)
    assert isinstance(found, Instead)
    token = TOKEN.search(" ".join(found.boot.args))
    assert token
    assert room.reads(token[1], NOBODY) == ""
    assert "no machine's address" in room.reads(token[1], IP1)


def test_the_kernel_is_not_asked_about_addresses_behind_a_router(room: Rack) -> None:
    asked: list[str] = []

    def look(address: IPv4Address, interface: str) -> str | None:
        asked.append(f"{address}%{interface}")
        return None

    images = Images(Paths(PurePosixPath(room.tmp)), lambda _client: "")
    giving = Giving(room, images, room.arming, lambda: AT, look)
    for client in (IP1, HERE, "10.0.0.1", "172.0.9.9", "", "::1"):
        giving.asker(client)
    assert asked == ["172.0.1.21%pxe0", "172.0.1.1%pxe0", "172.0.9.9%eno4.7"]


def test_a_restart_forgets_no_token(room: Rack) -> None:
    token = room.token()
    kept = [signal for signal in room.said if isinstance(signal, s.TokensGiven)]
    room.restart()
    room.arming.remember({"node1": [one.as_json() for one in kept[-1].tokens]})
    assert room.reads(token) == ""
