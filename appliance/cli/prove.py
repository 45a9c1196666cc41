"""`prove`: simulated clients walk the whole way, and what they met is shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from appliance.cli.client import no_sense, restored_error, stream
from appliance.cli.common import Output, Session, print_json, print_lines, print_table, stderr_console
from appliance.cli.known_names import machine_names
from appliance.errors import ExitCode
from appliance.paths import Paths

_ROWS = 20  # faults in the table; -o json has all
_NAMED = 3
_RUNGS_OF = 4  # machines whose rungs are shown one by one, when they were named

Facts = Mapping[str, object]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("prove")
    def prove(
        context: typer.Context,
        machines: Annotated[
            list[str] | None, typer.Argument(autocompletion=machine_names, help="Machines; default: all.")
        ] = None,
        everything: Annotated[bool, typer.Option("--all", help="All machines: the default.")] = False,
        arch: Annotated[
            list[int] | None,
            typer.Option(
                "--arch", help="A client class by its number in DHCP option 93; default: all that are served."
            ),
        ] = None,
        output: Annotated[Output, typer.Option("--output", "-o", help="How to print it.")] = Output.TABLE,
    ) -> None:
        """Boot every machine in simulation: DHCP, boot file, script, kernel, Ignition. Disturbs nobody."""
        session = context.obj
        assert isinstance(session, Session)
        names = [] if everything else machines or []
        raise typer.Exit(prove_machines(session.paths, names, arch or [], output=output))


def prove_machines(paths: Paths, names: Sequence[str], archs: Sequence[int], *, output: Output) -> int:
    """Prove and print; 5 when something is not proven.

    Raises:
        ApplianceError: the daemon does not run, refuses, or had to stop in the middle.
    """
    begin: Facts = {}
    end: Facts = {}
    results: list[Facts] = []
    body = {"machines": list(names), "archs": list(archs)}
    for line in _watched(_lines(paths, body)):
        match line.get("kind"):
            case "begin":
                begin = line
            case "result":
                results.append({key: value for key, value in line.items() if key != "kind"})
            case "end":
                end = line
            case "error":
                raise restored_error({**line, "kind": line.get("error")})
    if not end:
        raise no_sense("the proof has no end")
    good = not end.get("failed") and bool(end.get("proven"))
    if output is Output.JSON:
        facts = {key: value for key, value in end.items() if key not in {"kind", "proven"}}
        shown = {key: value for key, value in begin.items() if key != "kind"}
        print_json({"proven": good, **shown, **facts, "walks_proven": end.get("proven"), "results": results})
    else:
        _print(begin, end, results, rungs=0 < len(names) <= _RUNGS_OF)
    return ExitCode.FINE if good else ExitCode.SURROUNDINGS


def _lines(paths: Paths, body: Mapping[str, object]) -> Iterator[Facts]:
    for raw in stream(paths, "/v1/prove", method="POST", body=body):
        try:
            value: object = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise no_sense(raw) from error
        if not isinstance(value, dict):
            raise no_sense(raw)
        yield value


def _watched(lines: Iterable[Facts]) -> Iterator[Facts]:
    """The lines, with a bar on a terminal while they come."""
    console = stderr_console()
    if not console.is_terminal:
        yield from lines
        return
    columns = (TextColumn("proving"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        for line in lines:
            if line.get("kind") == "begin" and isinstance(total := line.get("walks"), int):
                bar.update(task, total=total)
            elif line.get("kind") == "result":
                bar.advance(task)
            yield line


def _print(begin: Facts, end: Facts, results: Sequence[Facts], *, rungs: bool) -> None:
    if rungs:
        print_lines(line for result in results for line in _rungs(result))
        print_lines([""])
    print_table(("CLASS", "PROVEN", "FAILED", "NOT TRIED", "TOOK"), _by_class(results), empty="")
    faults = _faults(results)
    if faults:
        print_lines([""])
        print_table(("REASON", "RUNG", "MACHINES", "CLASS", "WHAT"), faults[:_ROWS], empty="")
        if len(faults) > _ROWS:
            print_lines([f"and {len(faults) - _ROWS} more: -o json has all"])
        print_lines(["", *_remedies(results)])
    others = end.get("other_servers")
    if isinstance(others, dict) and others:
        names = "; ".join(f"{network}: {servers}" for network, servers in sorted(others.items()))
        print_lines([f"Another DHCP server answered too, on {names}: pxe-appliance status"])
    print_lines([_summary(begin, end)])


def _rungs(result: Facts) -> Iterator[str]:
    head = (result.get(key) for key in ("machine", "class", "mac", "ip"))
    yield "  ".join([*map(str, head), f"{result.get('ms')} ms"])
    marks = {"passed": "ok  ", "failed": "FAIL", "not tried": "-   "}
    for step in _rows(result.get("rungs")):
        yield f"  {marks.get(str(step.get('state')), '?')} {step.get('rung'):<9} {step.get('detail')}"


def _by_class(results: Sequence[Facts]) -> list[tuple[str, ...]]:
    found: dict[str, list[Facts]] = {}
    for result in results:
        found.setdefault(str(result.get("class")), []).append(result)
    rows: list[tuple[str, ...]] = []
    for name, some in found.items():
        proven = sum(r.get("proven") is True for r in some)
        failed = sum(r.get("failure") is not None for r in some)
        times = sorted(float(str(r.get("ms") or 0)) for r in some)
        middle = f"{times[len(times) // 2]:.0f} ms"
        rows.append((name, str(proven), str(failed), str(len(some) - proven - failed), middle))
    return rows


def _faults(results: Sequence[Facts]) -> list[tuple[str, ...]]:
    """A row for each different fault, the most frequent first."""
    found: dict[tuple[str, str, str], list[Facts]] = {}
    for result in results:
        fault = result.get("failure")
        if isinstance(fault, dict):
            key = str(fault.get("id")), str(fault.get("rung")), str(fault.get("message"))
            found.setdefault(key, []).append(result)
    ranked = sorted(found.items(), key=lambda item: -len(item[1]))
    return [
        (name, rung, _some(r.get("machine") for r in some), _some(r.get("arch") for r in some), what)
        for (name, rung, what), some in ranked
    ]


def _remedies(results: Sequence[Facts]) -> Iterator[str]:
    """What to do, once for each reason."""
    seen: dict[str, str] = {}
    for result in results:
        fault = result.get("failure")
        if isinstance(fault, dict):
            seen.setdefault(str(fault.get("id")), str(fault.get("remedy") or ""))
    for name, remedy in seen.items():
        yield f"{name}: {remedy}" if remedy else name
        yield f"    pxe-appliance explain {name}"


def _some(values: Iterable[object]) -> str:
    every = list(dict.fromkeys(str(value) for value in values))
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


def _summary(begin: Facts, end: Facts) -> str:
    classes = begin.get("classes")
    many = len(classes) if isinstance(classes, list) else 0
    size = ", ".join(
        (
            _count(begin.get("machines"), "machine"),
            _count(many, "client class", "es"),
            f"{end.get('seconds')} s",
        )
    )
    if not end.get("proven") and not end.get("failed"):
        return f"NOT proven: none of {end.get('walks')} walks could be tried ({size})."
    if not end.get("failed"):
        untried = f"; {end.get('not_tried')} could not be tried" if end.get("not_tried") else ""
        return f"Proven: {end.get('proven')} of {end.get('walks')} walks ({size}){untried}."
    return f"NOT proven: {end.get('failed')} of {end.get('walks')} walks failed ({size})."


def _count(number: object, word: str, plural: str = "s") -> str:
    return f"{number} {word}{'' if number == 1 else plural}"


def _rows(value: object) -> list[Facts]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
