# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What came out of the cases, for programs (JSON) and for people (one Markdown file)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tools.chaos.cases import Case
from tools.chaos.run import FAILED, FLAKY, PASSED, UNREACHED, Result

OUTCOMES = (PASSED, FLAKY, FAILED, UNREACHED)


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Count them."""
    return {
        "cases": len(results),
        **{outcome: sum(item.outcome == outcome for item in results) for outcome in OUTCOMES},
        "requests": {
            "planned": sum(item.planned for item in results),
            "accounted": sum(item.accounted for item in results),
            "failed": sum(item.failed for item in results),
            "excused": sum(item.excused for item in results),
        },
        "seconds": round(sum(item.seconds for item in results), 1),
    }


def as_json(about: dict[str, Any], results: Sequence[Result]) -> str:
    """Return the whole of it."""
    rows = [item.as_data() for item in results]
    return json.dumps({"schema": 1, **about, **summary(results), "results": rows}, indent=1) + "\n"


def as_markdown(about: dict[str, Any], results: Sequence[Result], cases: Sequence[Case]) -> str:
    """Return the same to be read: figures, then by fault, next run and point, then each case."""
    by_id = {case.id: case for case in cases}
    known = [item for item in results if item.id in by_id]
    counted = summary(results)
    lines = ["# Chaos report", ""]
    lines += [f"- {key}: {value}" for key, value in about.items() if not isinstance(value, dict)]
    lines += [f"- {key}: {value}" for key, value in (about.get("versions") or {}).items()]
    requests = counted["requests"]
    lines += [
        "",
        f"{counted['cases']} of {len(cases)} cases: "
        + ", ".join(f"{counted[outcome]} {outcome}" for outcome in OUTCOMES)
        + f". {requests['planned']} requests planned, {requests['accounted']} accounted for, "
        f"{requests['failed']} failed, {requests['excused']} of them where the fault itself takes "
        f"HAProxy or all replicas away. {counted['seconds'] / 60:.0f} minutes.",
        "",
    ]
    lines += _table("fault", known, lambda item: by_id[item.id].fault.name)
    lines += _table("next run", known, lambda item: by_id[item.id].then)
    lines += _table("point", known, lambda item: _place(by_id[item.id]))
    lines += [
        "| case | outcome | came at | exit codes | planned | failed | excused | s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_row(item) for item in results]
    bad = [item for item in results if item.problems]
    lines += ["", *(f"- {item.id}: {_short(item.problems)} ({item.kept})" for item in bad)]
    return "\n".join(lines) + "\n"


def _place(case: Case) -> str:
    return f"{case.point.kind} {case.point.name}"


def _table(title: str, results: Sequence[Result], key: Callable[[Result], str]) -> Iterable[str]:
    groups: dict[str, list[Result]] = {}
    for item in results:
        groups.setdefault(key(item), []).append(item)
    yield f"| {title} | cases | {' | '.join(OUTCOMES)} | requests | failed | excused |"
    yield "| --- |" + " --- |" * 8
    for name, items in sorted(groups.items()):
        counted = summary(items)
        outcomes = " | ".join(str(counted[outcome]) for outcome in OUTCOMES)
        asked = counted["requests"]
        yield (
            f"| {name} | {len(items)} | {outcomes} | {asked['planned']} | {asked['failed']} "
            f"| {asked['excused']} |"
        )
    yield ""


def _row(item: Result) -> str:
    codes = ", ".join(str(code) for code in item.ended)
    return (
        f"| {item.id} | {item.outcome} | {item.landed} | {codes} | {item.planned} "
        f"| {item.failed} | {item.excused} | {item.seconds:.0f} |"
    )


def _short(problems: Iterable[str]) -> str:
    return " / ".join(" ".join(problem.split())[:300] for problem in problems)


def read(path: Path) -> list[Result]:
    """Read results that were written line by line; the last line may be torn."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            data = json.loads(line)
        except ValueError:
            continue
        data["problems"], data["ended"] = tuple(data["problems"]), tuple(data["ended"])
        found.append(Result(**data))
    return found


def append(path: Path, result: Result) -> None:
    """Add one as soon as it is there."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(result.as_data()) + "\n")
