"""From a signature to a release: each case in which something is not trusted, and what is trusted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ExitCode
from appliance.images.lock import Lock, PinnedRelease
from appliance.images.model import Artefact, ReleasePlan, Role, Stream
from appliance.images.trust import (
    TOGETHER,
    Case,
    ListedDigest,
    Measured,
    ProvenFile,
    ProvenRelease,
    Signature,
    SignedText,
    Untrusted,
    check_version,
    judge_release,
    listed_digest,
    prove_file,
)
from tests.fakes.releases import digest_file
from tests.unit.images.rooms import (
    BETA,
    DAY,
    EARLY,
    INITRD,
    KERNEL,
    KEY,
    LATE,
    SUBKEY,
    VERSIONS,
    build,
    locked,
    pinned,
    plan,
    proven,
    sha512,
)

SIGNED = Signature(KEY, SUBKEY, LATE)
CONTENT = b"kernel"
MEASURED = Measured(len(CONTENT), sha512(CONTENT), "5" * 64)
ARTEFACT = Artefact(KERNEL, Role.KERNEL, "http://mirror.example/k", 1000)


def text(content: str) -> SignedText:
    return SignedText(content, SIGNED)


# ---- a signed list ----


def test_a_list_as_flatcar_signs_it() -> None:
    listed = listed_digest(text(digest_file({KERNEL: CONTENT, INITRD: b"initrd"}).decode()), KERNEL)
    assert listed == ListedDigest(KERNEL, sha512(CONTENT), SIGNED)


GOOD = f"# SHA512 HASH\n{'a' * 128}  {KERNEL}\n"


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("  ", " *"),
        f"# MD5 HASH\n{'b' * 32}  {KERNEL}\n{GOOD}",
        f"{GOOD}# SHA1 HASH\n{'b' * 40}  {KERNEL}\n",
        f"{GOOD}{'b' * 128}  {INITRD}\n",
        GOOD * 2,
        f"rubbish\n\n{GOOD}\nmore",
    ],
)
def test_ways_to_list_it(content: str) -> None:
    listed = listed_digest(text(content), KERNEL)
    assert listed
    assert listed.sha512 == "a" * 128


@pytest.mark.parametrize(
    "content",
    [
        "",
        GOOD.replace(KERNEL, INITRD),
        GOOD.replace(KERNEL, f"../{KERNEL}"),
        GOOD.replace(KERNEL, f"{KERNEL}.sig"),
        GOOD.replace(KERNEL, KERNEL.upper()),
        GOOD.replace(KERNEL, f"{KERNEL} {INITRD}"),
        GOOD.replace("# SHA512", "# SHA256"),  # another digest of the same length is not this one
        GOOD.replace("# SHA512 HASH\n", ""),
        GOOD.replace("a" * 128, "a" * 127),
        GOOD.replace("a" * 128, "a" * 129),
        GOOD.replace("a" * 128, "g" * 128),
        GOOD.replace("  ", ""),
        GOOD.replace("# SHA512 HASH\n", "# SHA512 HASH\n# SHA1 HASH\n"),
    ],
)
def test_lists_that_do_not_name_it(content: str) -> None:
    assert listed_digest(text(content), KERNEL) is None


def test_a_list_that_names_it_twice_with_two_digests() -> None:
    with pytest.raises(Untrusted) as refused:
        listed_digest(text(GOOD + GOOD.replace("a" * 128, "b" * 128)), KERNEL)
    assert refused.value.case is Case.UNREADABLE


@given(st.text(max_size=300))
def test_no_text_makes_a_digest_that_is_none(content: str) -> None:
    found = listed_digest(text(content), KERNEL)
    assert found is None or (len(found.sha512) == 128 and found.sha512 in content)


# ---- a file ----


def refusal(
    artefact: Artefact = ARTEFACT,
    measured: Measured = MEASURED,
    listed: ListedDigest | None = None,
    detached: Signature | None = None,
) -> Untrusted:
    with pytest.raises(Untrusted) as refused:
        prove_file(artefact, measured, listed, detached)
    assert KERNEL in refused.value.message
    return refused.value


LISTED = ListedDigest(KERNEL, sha512(CONTENT), Signature(KEY, "C" * 40, EARLY))


def test_a_signature_over_it_or_over_its_digest_proves_a_file() -> None:
    assert prove_file(ARTEFACT, MEASURED, None, SIGNED).signature == SIGNED
    assert prove_file(ARTEFACT, MEASURED, LISTED, None).signature == LISTED.signature
    assert prove_file(ARTEFACT, MEASURED, LISTED, SIGNED).signature == SIGNED


def test_nothing_speaks_for_it() -> None:
    assert refusal().case is Case.NO_SIGNATURE
    # What metadata say that nobody signed finds damage, and proves nothing.
    unsigned = replace(ARTEFACT, sha256=MEASURED.sha256)
    assert refusal(unsigned).case is Case.NO_SIGNATURE


def test_a_wrong_digest_is_refused_whatever_else_is_right() -> None:
    for listed in (replace(LISTED, sha512="0" * 128), replace(LISTED, sha512="")):
        assert refusal(listed=listed, detached=SIGNED).case is Case.WRONG_DIGEST
    unsigned = replace(ARTEFACT, sha256="6" * 64)
    assert refusal(unsigned, listed=LISTED, detached=SIGNED).case is Case.WRONG_DIGEST
    given_ = replace(ARTEFACT, expected="7" * 64)
    assert refusal(given_, listed=LISTED, detached=SIGNED).case is Case.WRONG_DIGEST


def test_a_digest_that_was_not_taken_fits_nothing() -> None:
    not_taken = replace(MEASURED, sha256="")
    for artefact in (replace(ARTEFACT, sha256="5" * 64), replace(ARTEFACT, expected="5" * 64)):
        assert refusal(artefact, not_taken, detached=SIGNED).case is Case.WRONG_DIGEST


@pytest.mark.parametrize("expected", [MEASURED.sha512, MEASURED.sha256], ids=["sha512", "sha256"])
def test_an_operator_s_word_proves_a_file(expected: str) -> None:
    file = prove_file(replace(ARTEFACT, expected=expected), MEASURED, None, None)
    assert file.signature is None
    stored = file.stored()
    assert (stored.signer, stored.subkey, stored.signed_at) == ("", "", None)


def test_what_is_recorded_of_a_file() -> None:
    stored = prove_file(ARTEFACT, MEASURED, None, SIGNED).stored()
    assert (stored.name, stored.role, stored.size) == (KERNEL, Role.KERNEL, len(CONTENT))
    assert (stored.sha512, stored.url) == (MEASURED.sha512, ARTEFACT.url)
    assert (stored.signer, stored.subkey, stored.signed_at) == (KEY, SUBKEY, LATE)


# ---- a version ----


def refused_version(version: str, lock: Lock) -> bool:
    """Whether it is a step back; then it has to be one that can be meant."""
    check_version(plan(version), lock, allow_downgrade=True)
    try:
        check_version(plan(version), lock, allow_downgrade=False)
    except Untrusted as error:
        refused = error
    else:
        return False
    assert refused.case is Case.DOWNGRADE
    assert "--allow-downgrade" in refused.hint
    return True


def test_a_version_below_the_newest_pinned_one() -> None:
    lock = locked(pinned("4593.2.3", build("3")), pinned("4593.2.5", build("5")))
    assert refused_version("4593.2.4", lock)
    assert refused_version("4593.2", lock)
    assert not refused_version("4593.2.5", lock)
    assert not refused_version("4593.2.6", lock)
    assert not refused_version("4593.2.3", lock), "what is pinned itself is no step back"


def test_other_streams_have_versions_of_their_own() -> None:
    others = [
        pinned("9999.0.0", build("b"), stream=stream)
        for stream in (BETA, Stream("flatcar", "stable", "arm64"), Stream("fedora-coreos", "stable"))
    ]
    assert not refused_version("1.0.0", locked(*others))
    assert not refused_version("1.0.0", Lock())


@given(VERSIONS, VERSIONS)
def test_there_is_always_one_way_only(one: str, other: str) -> None:
    ways = [refused_version(a, locked(pinned(b, build("x")))) for a, b in ((one, other), (other, one))]
    assert ways.count(True) <= 1


# ---- a release ----


def judged(
    files: list[ProvenFile],
    lock: Lock | None = None,
    of: ReleasePlan | None = None,
    *,
    foreign: str | None = None,
    allow: bool = False,
) -> ProvenRelease:
    return judge_release(
        of or plan(),
        files,
        lock or Lock(),
        evidence={"e": b"x"},
        certificates=(b"c",),
        foreign_number=foreign,
        allow_downgrade=allow,
    )


def refused_as(
    files: list[ProvenFile],
    lock: Lock | None = None,
    of: ReleasePlan | None = None,
    *,
    foreign: str | None = None,
    allow: bool = False,
) -> Case:
    with pytest.raises(Untrusted) as refused:
        judged(files, lock, of, foreign=foreign, allow=allow)
    assert refused.value.exit_code is ExitCode.REFUSED
    assert f"[{refused.value.case.value}]" in refused.value.message
    return refused.value.case


def test_a_new_release() -> None:
    files = proven(plan(), build("new"))
    found = judged(files, locked(pinned("4593.2.5", build("old"))))
    assert (found.plan, found.files) == (plan(), tuple(files))
    assert (found.evidence, found.certificates) == ({"e": b"x"}, (b"c",))


def test_a_pinned_release_is_held_to_its_pins() -> None:
    lock = locked(pinned("4593.2.6", build("first"), LATE))
    judged(proven(plan(), build("first")), lock)
    assert refused_as(proven(plan(), build("second")), lock) is Case.CHANGED
    one = {**build("first"), INITRD: b"another"}
    assert refused_as(proven(plan(), one), lock, allow=True) is Case.CHANGED
    missing = locked(pinned("4593.2.6", {KERNEL: build("first")[KERNEL]}, LATE))
    assert refused_as(proven(plan(), build("first")), missing) is Case.CHANGED


def test_a_pinned_release_may_come_back_though_it_is_old() -> None:
    lock = locked(pinned("4593.2.6", build("old"), EARLY), pinned("4593.2.7", build("new"), LATE))
    judged(proven(plan(), build("old"), EARLY), lock)


def test_old_bytes_under_a_new_number() -> None:
    lock = locked(pinned("4593.2.4", build("4"), EARLY - DAY), pinned("4593.2.5", build("5"), EARLY))
    assert refused_as(proven(plan(), build("5"), EARLY), lock) is Case.REPLAYED
    assert refused_as(proven(plan(), build("4"), EARLY - DAY), lock) is Case.REPLAYED
    assert refused_as(proven(plan(), build("never seen"), EARLY - DAY), lock) is Case.OLD_SIGNATURE
    # That a version is meant to be older does not make other bytes of it.
    assert refused_as(proven(plan(), build("5"), EARLY), lock, allow=True) is Case.REPLAYED
    judged(proven(plan(), build("never seen"), EARLY - DAY), lock, allow=True)
    judged(proven(plan(), build("never seen"), EARLY), lock)


def test_one_old_file_is_enough_to_be_old() -> None:
    lock = locked(pinned("4593.2.5", build("5"), EARLY))
    kernel, initrd = proven(plan(), build("6"), EARLY + DAY)
    old = replace(kernel, signature=Signature(KEY, SUBKEY, EARLY - DAY))
    assert refused_as([old, initrd], lock) is Case.OLD_SIGNATURE


def test_a_kernel_may_stay_the_same_from_release_to_release() -> None:
    old = build("5")
    lock = locked(pinned("4593.2.5", old, EARLY))
    judged(proven(plan(), {**build("6"), KERNEL: old[KERNEL]}), lock)


def test_another_channel_s_bytes() -> None:
    lock = locked(pinned("4757.1.0", build("beta"), EARLY, BETA))
    assert refused_as(proven(plan(), build("beta")), lock) is Case.WRONG_CHANNEL
    elsewhere = locked(pinned("44", build("beta"), EARLY, Stream("fedora-coreos", "stable")))
    judged(proven(plan(), build("beta")), elsewhere)


def test_another_channel_s_number() -> None:
    assert refused_as(proven(plan(), build("x")), foreign="beta", allow=True) is Case.WRONG_CHANNEL


@pytest.mark.parametrize("apart", [TOGETHER + DAY, TOGETHER * 50])
def test_files_of_two_builds(apart: object) -> None:
    kernel, initrd = proven(plan(), build("x"))
    assert isinstance(apart, type(DAY))
    late = replace(initrd, signature=Signature(KEY, SUBKEY, LATE + apart))
    assert refused_as([kernel, late], allow=True) is Case.MIXED_RELEASE
    assert refused_as([late, kernel], allow=True) is Case.MIXED_RELEASE


def test_files_of_one_build() -> None:
    kernel, initrd = proven(plan(), build("x"))
    judged([kernel, replace(initrd, signature=Signature(KEY, SUBKEY, LATE + TOGETHER))])
    # sqv does not tell when a signature was made.
    judged([kernel, replace(initrd, signature=Signature(KEY, SUBKEY, None))])


def test_what_an_operator_vouches_for_he_may_call_what_he_likes() -> None:
    lock = locked(pinned("1.0", build("x"), None), pinned("2.0", build("y"), LATE))
    judged(proven(plan("3.0"), build("x"), None), lock, plan("3.0"))
    judged(proven(plan("3.0"), build("y"), None), lock, plan("3.0"))


@given(st.datetimes(datetime(2010, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))
def test_the_time_of_its_signature_alone_tells_whether_bytes_are_old(at: datetime) -> None:
    lock = locked(pinned("4593.2.5", build("5"), EARLY))
    files = proven(plan(), build("6"), at)
    if at < EARLY:
        assert refused_as(files, lock) is Case.OLD_SIGNATURE
    else:
        judged(files, lock)


def test_the_newest_pinned_version_sets_the_time() -> None:
    """Not the one that was fetched last: an older one may have been fetched again since."""
    releases: list[PinnedRelease] = [
        pinned("4593.2.5", build("5"), EARLY),
        pinned("4593.2.4", build("4"), LATE),
    ]
    judged(proven(plan(), build("6"), EARLY + DAY), locked(*releases))
