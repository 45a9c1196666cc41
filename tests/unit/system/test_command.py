"""Other programs: how they end, what they are given, what is said of them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from appliance.errors import SurroundingsError
from appliance.system.command import Completed, ending, environment, pasteable, run, spawn


def shell(script: str, **how: object) -> Completed:
    return run(["sh", "-c", script], timeout=10, **how)  # type: ignore[arg-type]


def refusal(*argv: str, timeout: float = 10) -> SurroundingsError:
    with pytest.raises(SurroundingsError) as caught:
        run(argv, timeout=timeout)
    return caught.value


def test_what_it_printed_comes_back() -> None:
    assert shell("echo out; echo err >&2") == Completed(0, "out\n", "err\n")
    assert shell("printf '\\377'").stdout == "\N{REPLACEMENT CHARACTER}"


def test_a_program_that_is_not_there() -> None:
    assert refusal("no-such-program", "-x").message == "cannot run no-such-program: it is not installed"


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    assert refusal(str(tmp_path / "plain")).message.endswith("plain: permission denied")
    (tmp_path / "garbage").write_bytes(b"\0garbage")
    (tmp_path / "garbage").chmod(0o755)
    assert refusal(str(tmp_path / "garbage")).message == f"cannot run {tmp_path}/garbage: Exec format error"


def test_a_code_of_its_own_with_its_last_words_and_a_line_to_paste() -> None:
    error = refusal("sh", "-c", "echo first >&2; echo 'the reason' >&2; echo; exit 7")
    assert error.message == "sh exited with 7: the reason"
    assert error.hint == "sh -c 'echo first >&2; echo '\"'\"'the reason'\"'\"' >&2; echo; exit 7'"


def test_words_on_standard_output_count_where_there_are_no_others() -> None:
    assert refusal("sh", "-c", "echo on-stdout; exit 1").message == "sh exited with 1: on-stdout"
    assert refusal("false").message == "false exited with 1: it said nothing"


def test_last_words_are_bounded() -> None:
    assert len(refusal("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1").message) < 500


def test_killed_is_another_sentence() -> None:
    assert refusal("sh", "-c", "kill -KILL $$").message == "sh was killed by SIGKILL: it said nothing"
    assert ending("dnsmasq", -signal.SIGSEGV) == "dnsmasq was killed by SIGSEGV"
    assert ending("dnsmasq", -99) == "dnsmasq was killed by 99"
    assert ending("dnsmasq", 3) == "dnsmasq exited with 3"


def test_a_deadline_is_kept() -> None:
    assert refusal("sleep", "30", timeout=0.1).message == "sleep did not end within 0.1 s: sleep 30"


def test_a_failure_can_be_an_answer() -> None:
    assert shell("exit 3", check=False).rc == 3
    assert shell("kill -TERM $$", check=False).rc == -signal.SIGTERM


def test_it_reads_what_it_is_given_and_never_our_terminal() -> None:
    assert shell("cat", input=b"words").stdout == "words"
    assert shell("cat; readlink /proc/self/fd/0").stdout == "/dev/null\n"


def test_the_environment_is_small_and_speaks_english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "PYTHONPATH", "http_proxy", "NOTIFY_SOCKET", "LANG", "SECRET"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    given = environment({"MINE": "1"})
    assert set(given) <= {"PATH", "HOME", "TERM", "LC_ALL", "MINE"}
    assert (given["LC_ALL"], given["MINE"]) == ("C.UTF-8", "1")
    assert "SECRET" not in shell("env").stdout
    monkeypatch.delenv("PATH")
    assert "/usr/sbin" in environment()["PATH"]


def test_a_command_can_be_pasted() -> None:
    assert pasteable(["ip", "link", "a b", "$(id)", ""]) == "ip link 'a b' '$(id)' ''"


def test_one_that_lives_on_has_its_own_session_and_no_stream_of_ours() -> None:
    reader, writer = os.pipe()
    script = "import os; print(os.getsid(0) == os.getpid(), os.readlink('/proc/self/fd/2'), flush=True)"
    child = spawn([sys.executable, "-c", script], stdout=writer)
    os.close(writer)
    with os.fdopen(reader) as said:
        assert said.read() == "True /dev/null\n"
    assert child.wait(10) == 0


@pytest.mark.parametrize(("program", "words"), [("no-such-program", "it is not installed"), ("/", "denied")])
def test_what_cannot_be_started_is_said(program: str, words: str) -> None:
    with pytest.raises(SurroundingsError, match=f"cannot start {program}: .*{words}"):
        spawn([program])
