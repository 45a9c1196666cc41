"""An operator's files in ignition.d/, finished: templates rendered, Butane translated, all judged. Pure.

A file that is no template gives one document for all machines of a profile, under its name; a template gives
one for each machine, under NAME/MACHINE. Rendering and translating are handed in: both can need programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Protocol

from appliance.errors import Problem
from appliance.inventory.becoming import netconf_of
from appliance.inventory.model import Inventory, Profile
from appliance.matchbox.butane import relocated, translate_as_butane, variant_of
from appliance.matchbox.errors import Flaw, IgnitionError
from appliance.matchbox.ignition import is_ignition, judge
from appliance.matchbox.json_tree import read_json
from appliance.settings import Settings
from appliance.sync.template import CannotRender, compile_template, lines_of, render
from appliance.sync.variables import variables_of

TEMPLATE: Final = ".j2"
_NAMED: Final = 3  # machines in a sentence
_TRACED: Final = 50  # renderings whose lines are looked up
_MEND: Final = "mend it: a machine that was given this would not come up"


@dataclass(frozen=True, slots=True)
class Job:
    """A template to be rendered; without variables it is only read."""

    name: str
    variables: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a template made, and (when asked for) the line of the template for each of its lines."""

    text: str
    lines: tuple[int, ...] = ()


class Render(Protocol):
    """Carries out jobs, in their order."""

    def __call__(
        self, templates: Mapping[str, str], jobs: Sequence[Job], *, lines: bool = False
    ) -> Sequence[Rendered | Flaw]: ...


Translate = Callable[[Mapping[str, bytes]], Mapping[str, bytes | tuple[Flaw, ...]]]


@dataclass(frozen=True, slots=True)
class Found:
    """A flaw of what was made under `key`, for a machine (empty: for all of them)."""

    key: str
    machine: str
    flaw: Flaw
    in_template: bool = False  # its line is that of the template already


@dataclass(frozen=True, slots=True)
class Bases:
    """What was made, by key, and what it was made from.

    `variants` has the Butane variant of each file that is Butane, by its name.
    """

    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    variants: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()
    texts: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    templates: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    jobs: Mapping[str, Job] = field(default_factory=lambda: MappingProxyType({}))


def is_template(name: str) -> bool:
    """Whether a file of ignition.d/ is rendered for each machine."""
    return name.endswith(TEMPLATE)


def file_of(key: str) -> str:
    """The file that a key's document is made from."""
    return key.partition("/")[0]


def make_bases(
    folder: str,
    settings: Settings,
    inventory: Inventory,
    files: Mapping[str, bytes],
    render: Render,
    translate: Translate,
) -> Bases:
    """Finish every file; `folder` is where they lie, for the problems."""
    found: list[Found] = []
    templates = dict(_templates(files, found))
    jobs = _jobs(settings, inventory, templates)
    texts = {name: content for name, content in files.items() if not is_template(name)}
    for (key, job), made in zip(jobs.items(), render(templates, list(jobs.values())), strict=True):
        machine = key.partition("/")[2]
        if isinstance(made, Flaw):
            found.append(Found(key, machine, made, in_template=True))
        elif job.variables is not None:
            texts[key] = made.text.encode()
    butane = {
        key: text for key, text in texts.items() if not is_ignition(file_of(key).removesuffix(TEMPLATE))
    }
    finished: dict[str, bytes] = {key: text for key, text in texts.items() if key not in butane}
    for key, result in translate(butane).items():
        if isinstance(result, bytes):
            finished[key] = result
        else:
            found += [Found(key, key.partition("/")[2], flaw) for flaw in result]
    bases = Bases(finished, _variants(butane), (), texts, templates, jobs)
    for key, document in finished.items():
        try:
            judge(document)
        except IgnitionError as error:
            found += [Found(key, key.partition("/")[2], flaw) for flaw in in_source(bases, key, error.flaws)]
    return replace(bases, problems=tuple(problems_of(folder, bases, found, render)))


def with_netconf(inventory: Inventory, variants: Mapping[str, str]) -> Inventory:
    """The inventory, with what configures networks where only the variant of a Butane file tells."""

    def told(profile: Profile) -> Profile:
        if netconf_of(profile) is not None:
            return profile
        return replace(profile, netconf=netconf_of(profile, variants.get(profile.ignition or "")))

    profiles = {name: told(profile) for name, profile in inventory.profiles.items()}
    return replace(inventory, profiles=MappingProxyType(profiles))


def in_source(bases: Bases, key: str, flaws: tuple[Flaw, ...]) -> tuple[Flaw, ...]:
    """Flaws of a document with the lines of the text that it was made from, where they have a place in it."""
    text = bases.texts.get(key, b"")
    if bases.files.get(key) is not text:
        return relocated(flaws, text)
    try:
        _, tree = read_json(text)
    except IgnitionError:
        return flaws
    return tuple(replace(flaw, line=tree.line(flaw.keys)) if flaw.keys else flaw for flaw in flaws)


def problems_of(folder: str, bases: Bases, found: Iterable[Found], render: Render) -> list[Problem]:
    """The problems as an operator sees them: in their file, on its line, with the machines they concern."""
    same: dict[tuple[str, int, str, str, str, bool], list[Found]] = {}
    for one in found:
        flaw = one.flaw
        where = (file_of(one.key), flaw.line, flaw.path, flaw.message, flaw.hint, one.in_template)
        same.setdefault(where, []).append(one)
    traced = _traced(bases, [group[0] for group in same.values()], render)
    problems = set()
    for (name, line, path, message, hint, _), group in same.items():
        machines = sorted({one.machine for one in group if one.machine})
        whom = f" (machine {_listed(machines)})" if machines else ""
        where_line = max(1, traced.get((group[0].key, line), line) if not group[0].in_template else line)
        problems.add(Problem(f"{folder}/{name}", where_line, path, f"{message}{whom}", hint or _MEND))
    return sorted(problems)


def translate_here(butane: Mapping[str, bytes]) -> dict[str, bytes | tuple[Flaw, ...]]:
    """Our own translator."""
    made: dict[str, bytes | tuple[Flaw, ...]] = {}
    for key, text in butane.items():
        try:
            made[key] = translate_as_butane(text)
        except IgnitionError as error:
            made[key] = error.flaws
    return made


def render_here(
    templates: Mapping[str, str], jobs: Sequence[Job], *, lines: bool = False
) -> list[Rendered | Flaw]:
    """Rendering in this process, which nothing bounds: for templates that are known."""
    made: list[Rendered | Flaw] = []
    for job in jobs:
        try:
            compiled = compile_template(templates[job.name])
            text = render(compiled, job.variables) if job.variables is not None else ""
            trace = lines_of(compiled, job.variables or {}, text) if lines else ()
            made.append(Rendered(text, trace))
        except CannotRender as error:
            made.append(Flaw(error.message, error.line))
    return made


def _templates(files: Mapping[str, bytes], found: list[Found]) -> Iterator[tuple[str, str]]:
    for name, content in files.items():
        if not is_template(name):
            continue
        try:
            yield name, content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            flaw = Flaw("it is not UTF-8", line, hint="save it as UTF-8")
            found.append(Found(name, "", flaw, in_template=True))


def _jobs(settings: Settings, inventory: Inventory, templates: Mapping[str, str]) -> dict[str, Job]:
    jobs: dict[str, Job] = {}
    for machine in inventory.machines:
        profile = inventory.profiles.get(machine.profile or "")
        name = profile.ignition if profile is not None else None
        if name is not None and name in templates:
            jobs[f"{name}/{machine.name}"] = Job(name, variables_of(settings, inventory, machine))
    used = {job.name for job in jobs.values()}
    return {**jobs, **{name: Job(name, None) for name in templates if name not in used}}


def _variants(butane: Mapping[str, bytes]) -> dict[str, str]:
    """Of a template, the first machine's tells for all: what differs is some systems' name in one file."""
    variants: dict[str, str] = {}
    for key, text in butane.items():
        if file_of(key) not in variants and (variant := variant_of(text)):
            variants[file_of(key)] = variant
    return variants


def _traced(bases: Bases, found: Sequence[Found], render: Render) -> dict[tuple[str, int], int]:
    """The template's line for lines of what it made, by key and line."""
    wanted = [one for one in found if one.key in bases.jobs and not one.in_template][:_TRACED]
    keys = list(dict.fromkeys(one.key for one in wanted))
    if not keys:
        return {}
    again = render(bases.templates, [bases.jobs[key] for key in keys], lines=True)
    made = dict(zip(keys, again, strict=True))
    lines: dict[tuple[str, int], int] = {}
    for one in wanted:
        rendered = made[one.key]
        known = isinstance(rendered, Rendered) and 0 < one.flaw.line <= len(rendered.lines)
        where = rendered.lines[one.flaw.line - 1] if isinstance(rendered, Rendered) and known else 0
        lines[one.key, one.flaw.line] = where
    return lines


def _listed(machines: Sequence[str]) -> str:
    more = f" and {len(machines) - _NAMED} more" if len(machines) > _NAMED else ""
    return ", ".join(machines[:_NAMED]) + more
