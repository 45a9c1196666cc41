"""The scripts that machines run before they boot: what they say, and that no text adds a command to them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.matchbox.render import chain_script, grub_message, hold_script, plain, refusal_script

HERE = "172.0.1.1"
HOSTILE = [
    "a\nchain http://evil.example/x",
    "a\r\nshell",
    "a || shell",
    "a && shell",
    "a ; shell",
    "a # ${net0/mac}",
    "${net0/password:hexraw}",
    "$ {x}",
    "'; shell",
    '"; exit 1 #',
    "\\\nshell",
    "\0shell",
    "\x1b[31m\x0bshell\x0c",
    "\u2028shell\u2029",
    "\udcff\ud800",
    "`reboot`",
    "$(reboot)",
    "menuentry x {",
    "}\nlinux /evil",
    "x" * 10_000,
    "",
]
# What of a line iPXE and GRUB take for themselves: expansion, quotes, comments, separators, the end of it.
SPECIAL = re.compile(r"[^ -~]|[${}\"'\\#|&;`<>]")
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=300), st.text("${}|&;#\n\"'\\ a", max_size=60))


def same_commands(hostile: str, harmless: str) -> None:
    """The two scripts differ in what they show alone, and that is nothing special to whoever runs it."""
    ours, theirs = hostile.split("\n"), harmless.split("\n")
    assert len(ours) == len(theirs)
    for got, expected in zip(ours, theirs, strict=True):
        if got == expected:
            continue
        head = re.match(r'echo "?pxe-appliance 172\.0\.1\.1', expected)
        assert head
        assert got.startswith(head[0])
        shown = got.removeprefix(head[0]).removesuffix('"').replace("${netX/mac}", "")
        assert not SPECIAL.search(shown), got
        assert len(shown) < 700


@given(TEXT, TEXT, TEXT)
def test_no_text_adds_a_command(machine: str, reason: str, remedy: str) -> None:
    same_commands(hold_script(HERE, machine, reason, remedy), hold_script(HERE, "node1", "why", "release"))
    same_commands(refusal_script(HERE, reason), refusal_script(HERE, "why"))
    same_commands(grub_message(HERE, machine, reason), grub_message(HERE, "node1", "why"))


@pytest.mark.parametrize("text", HOSTILE)
def test_plain_text_is_what_is_shown(text: str) -> None:
    assert not SPECIAL.search(plain(text))
    assert len(plain(text)) <= 200


def test_a_usual_reason_stays_as_it_is() -> None:
    for text in (
        "install 3 within 20 minutes without a call home",
        "172.0.1.21 is answered for by 52:54:00:aa:00:11, which is node2's",
        "image flatcar/stable@4152.2.0 is not in the store (yet)",
        "pxe-appliance machine release node-1",
    ):
        assert plain(text) == text.replace("'", " ")


def test_a_held_machine_says_why_and_asks_again() -> None:
    lines = hold_script(HERE, "node1", "disk 3 is broken", "pxe-appliance machine release node1").splitlines()
    assert lines == [
        "#!ipxe",
        "echo pxe-appliance 172.0.1.1: node1 is held: disk 3 is broken",
        "echo pxe-appliance 172.0.1.1: to let it go: pxe-appliance machine release node1",
        ":wait",
        "sleep 60",
        "chain --replace boot.ipxe || goto wait",
    ]


def test_a_refusal_says_who_refuses_whom_and_why_and_fails() -> None:
    lines = refusal_script(HERE, "it is not known here").splitlines()
    assert lines == [
        "#!ipxe",
        "echo pxe-appliance 172.0.1.1 refuses to boot ${netX/mac}: it is not known here",
        "sleep 5",
        "exit 1",
    ]


def test_grub_is_told_and_goes_back_to_the_firmware() -> None:
    assert grub_message(HERE, "node1 is held: why", "to let it go: x").splitlines() == [
        'echo "pxe-appliance 172.0.1.1: node1 is held: why"',
        'echo "pxe-appliance 172.0.1.1: to let it go: x"',
        "sleep 5",
        "exit 1",
    ]


# ---- the first script: a small reading of what iPXE does with it ----


class Exit(Exception):
    """The end of a script."""


@dataclass
class Machine:
    """What a machine does with a script; `answers` are its tries at `chain`: ok, fail, or disk (on to that).

    Knows the commands that the scripts use, labels, and `&&` and `||` from left to right, as iPXE takes them.
    """

    answers: list[str]
    dhcp_works: bool = True
    settings: dict[str, str] = field(default_factory=dict)
    did: list[str] = field(default_factory=list)

    def run(self, script: str) -> list[str]:
        lines = script.splitlines()
        assert lines[0] == "#!ipxe"
        labels = {line[1:]: n for n, line in enumerate(lines) if line.startswith(":")}
        at = 1
        try:
            for _ in range(1000):
                to = self._line(lines[at])
                at = labels[to] if to else at + 1
        except Exit:
            return self.did
        raise AssertionError("the script never ends")

    def _line(self, line: str) -> str | None:
        """Do one line; the label that it goes to."""
        done, wanted = True, True
        for part in re.split(r" (&&|\|\|)(?: |$)", line):
            if part in {"&&", "||"}:
                wanted = done is (part == "&&")
            elif wanted and part.startswith("goto "):
                return part.removeprefix("goto ")
            elif wanted and part and not part.startswith(":"):
                done = self._command(*re.sub(r"\$\{(.*?)\}", self._value, part).split(" "))
        return None

    def _value(self, found: re.Match[str]) -> str:
        return self.settings.get(found[1], f"<{found[1]}>")

    def _command(self, name: str, *words: str) -> bool:
        match name, words:
            case "exit", rc:
                self.did.append(f"exit {''.join(rc)}")
                raise Exit
            case "set", (key, value):
                self.settings[key.removesuffix(":int32")] = value
            case "inc", (key,):
                self.settings[key] = str(int(self.settings[key]) + 1)
            case "iseq", (one, other):
                return one == other
            case "isset", (value,):
                return not value.startswith("<")
            case "chain", (url,):
                self.did.append(f"chain {url}")
                answer = self.answers.pop(0)
                if answer == "disk":
                    self.settings["to-disk"] = "1"
                return answer == "ok"
            case "dhcp", ("netX",):
                self.did.append("dhcp")
                return self.dhcp_works
            case _:
                assert name in {"echo", "sleep", "imgfree"}, f"iPXE is asked for {name} {words}"
        return True


def run_chain(script: str, answers: list[str], *, dhcp_works: bool = True) -> list[str]:
    return Machine(answers, dhcp_works).run(script)


ASKS = r"chain (.*)ipxe\?uuid=<uuid>&mac=<netX/mac:hexhyp>&.*&arch=<buildarch:uristring>&"


def test_a_machine_that_is_answered_goes_once() -> None:
    did = run_chain(chain_script(HERE), ["ok"])
    assert len(did) == 2
    assert re.match(ASKS, did[0])
    assert did[1] == "exit 0"


def test_one_that_is_not_asks_ten_times_with_dhcp_in_between_and_then_goes_on() -> None:
    for dhcp_works in (True, False):
        did = run_chain(chain_script(HERE), ["fail"] * 10, dhcp_works=dhcp_works)
        assert [step.partition(" ")[0] for step in did] == [*["chain", "dhcp"] * 9, "chain", "exit"]
        assert did[-1] == "exit 1"


def test_one_that_wants_to_its_disk_and_fails_there_does_not_ask_again() -> None:
    assert run_chain(chain_script(HERE), ["fail", "disk"])[-1] == "exit 1"
    assert len(run_chain(chain_script(HERE), ["disk"])) == 2


def test_an_external_endpoint_is_asked_by_its_own_address() -> None:
    script = chain_script(HERE, "http://matchbox.example.com:8080/")
    (first, _) = run_chain(script, ["ok"])
    assert first.startswith("chain http://matchbox.example.com:8080/ipxe?")
    assert "nothing to boot from http://matchbox.example.com:8080/ yet" in script


def test_every_wait_is_seen_on_the_screen() -> None:
    lines = chain_script(HERE).splitlines()
    for n, line in enumerate(lines):
        if line.startswith("sleep"):
            assert lines[n - 1].startswith(f"echo pxe-appliance {HERE}: ")
    assert sum("portfast" in line for line in lines) == 1
