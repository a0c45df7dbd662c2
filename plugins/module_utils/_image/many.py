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
    if not 1 <= workers <= MAX_WORKERS:
        raise InvalidInput("concurrency", workers, f"must be an integer 1-{MAX_WORKERS}")
    if len(items) == 1:
        # Threads take some milliseconds to import, and most calls have one recipe.
        return [work(items[0])]
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(work, item) for item in items]
    errors: list[CutoverError] = []
    results: list[Result] = []
    for future in pending:
        try:
            results.append(future.result())
        except CutoverError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise CutoverError(
            "\n".join(error.message for error in errors),
            errors=[{"message": error.message, **error.details} for error in errors],
        )
    return results
