"""Which image, release or stream an operator means by the words of a command."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import OperatorError, Refused
from appliance.image_ref import ImageRef, parse_ref
from appliance.images.model import Stream, is_version
from appliance.images.store import Store
from appliance.inventory.load import load_all
from appliance.paths import Paths
from appliance.reading import Unfit, nearest


def ref_named(raw: str) -> ImageRef:
    """An image by its name.

    Raises:
        OperatorError: it is none.
    """
    try:
        return parse_ref(raw)
    except Unfit as error:
        raise OperatorError(f"cannot use the image: {error}", hint=error.hint) from error
    except ValueError as error:
        raise OperatorError(f"cannot use the image: {error}") from error


def release_named(store: Store, words: Sequence[str], arch: str | None) -> tuple[Stream, str]:
    """`IMAGE@VERSION`, `IMAGE VERSION`, or a VERSION that one stream alone has."""
    match words:
        case [image, version]:
            return stream_named(store, image, arch), version
        case [word] if "/" in word:
            ref = ref_named(word)
            if ref.version is None:
                hint = f"pxe-appliance images use {word}@VERSION"
                raise OperatorError(f"cannot tell which version of {word} is meant", hint=hint)
            return stream_named(store, f"{ref.os}/{ref.stream}", arch), ref.version
        case [version] if is_version(version):
            having = [s for s in store.streams() if version in store.versions(s)]
            having = [s for s in having if arch in (None, s.arch)]
            if len(having) == 1:
                return having[0], version
            several = f"there are {', '.join(map(str, having))}" if having else "no image has it"
            hint = f"name the image: pxe-appliance images use IMAGE@{version}"
            raise Refused(f"cannot tell which image's version {version} is meant: {several}", hint=hint)
    raise OperatorError("cannot tell what to use", hint="pxe-appliance images use flatcar/stable@VERSION")


def stream_named(store: Store, image: str | None, arch: str | None) -> Stream:
    """The stream of an image that is there (amd64 first), or the only one that can go back.

    Raises:
        Refused: no image was named, and more than one could be meant.
    """
    there = [s for s in store.streams() if arch in (None, s.arch)]
    if image is not None:
        ref = ref_named(image)
        named = [s for s in there if (s.os, s.name) == (ref.os, ref.stream)]
        preferred = [s for s in named if s.arch == (arch or "amd64")] or named
        return preferred[0] if preferred else Stream.of(ref, arch)
    movable = [s for s in there if any(v != store.current(s) for v in store.pointers(s).before)]
    if len(movable) == 1:
        return movable[0]
    words = ", ".join(map(str, movable)) or "none has anything to go back to"
    raise Refused(
        f"cannot tell which image to roll back: {words}", hint="pxe-appliance images rollback IMAGE"
    )


def stream_of_machines(
    paths: Paths, machines: Sequence[str], stream: Stream, arch: str | None
) -> tuple[Stream, list[str]]:
    """The stream that the machines boot from: of their own architecture, unless one was asked for.

    Returns:
        the stream, and a sentence for each machine for which a pointer changes nothing as things are.

    Raises:
        Refused: there is no such machine.
    """
    inventory = load_all(paths).inventory
    if inventory is None:
        return stream, []  # a broken inventory must not stand in the way of an image
    known = {str(m.name): m for m in inventory.machines}
    archs, doubts = set(), []
    for name in machines:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else "pxe-appliance machines lists them"
            raise Refused(f"there is no machine {name[:64]!r} in the inventory", hint=hint)
        profile = inventory.profiles.get(known[name].profile or "")
        source = profile.source if profile else None
        archs.add(known[name].arch or "amd64")
        wanted = ImageRef(stream.os, stream.name)
        if source != wanted:
            doubts.append(
                f"{name} boots {source or 'no image'}: it gets {wanted} when its profile names that"
            )
    chosen = archs.pop() if arch is None and len(archs) == 1 else stream.arch
    if archs and arch is None:
        raise Refused(f"{', '.join(machines)} are of several architectures", hint="name one: --arch arm64")
    return Stream(stream.os, stream.name, chosen), doubts
