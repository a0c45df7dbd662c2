# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several recipes at once: results in input order, every error reported; private, no stability promised."""

from __future__ import annotations

import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")
MAX_WORKERS = 16


def for_each(
    items: t.Sequence[Item], work: t.Callable[[Item], Result], workers: int
) -> list[Result]:
    """Do the work for every item, a few at a time; one failure does not hide another."""
    results, errors = attempt_each(items, work, workers)
    if errors:
        raise joined(errors)
    return results


def report_each(
    items: t.Sequence[Item],
    work: t.Callable[[Item], Result],
    workers: int,
    report: t.Callable[[t.Sequence[Result]], dict[str, t.Any]],
) -> dict[str, t.Any]:
    """Do the work for every item and return the report of it; a failure carries the report of the others."""
    results, errors = attempt_each(items, work, workers)
    if errors:
        raise joined(errors, report(results))
    return report(results)


def attempt_each(
    items: t.Sequence[Item], work: t.Callable[[Item], Result], workers: int
) -> tuple[list[Result], list[CutoverError]]:
    """Do the work for every item, a few at a time; return what succeeded and what did not, each in the items' order."""
    if not 1 <= workers <= MAX_WORKERS:
        raise InvalidInput("concurrency", workers, f"must be an integer 1-{MAX_WORKERS}")
    results: list[Result] = []
    errors: list[CutoverError] = []
    for outcome in _outcomes(items, work, workers):
        try:
            results.append(outcome())
        except CutoverError as error:
            errors.append(error)
        except OSError as error:
            # A full disk, most of all: as true for the others as any other failure.
            errors.append(CutoverError(str(error)))
    return results, errors


def _outcomes(
    items: t.Sequence[Item], work: t.Callable[[Item], Result], workers: int
) -> list[t.Callable[[], Result]]:
    if len(items) == 1:
        # Threads take some milliseconds to import, and most calls have one recipe.
        return [lambda: work(items[0])]
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return [pool.submit(work, item).result for item in items]


def joined(
    errors: t.Sequence[CutoverError], report: t.Mapping[str, t.Any] | None = None
) -> CutoverError:
    """Return several failures as one, and with it what was done in spite of them."""
    if len(errors) == 1:
        (error,) = errors
    else:
        error = CutoverError(
            "\n".join(error.message for error in errors),
            errors=[{"message": error.message, **error.details} for error in errors],
        )
    error.details = {**(report or {}), **error.details}
    return error
