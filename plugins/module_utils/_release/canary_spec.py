# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a canary as a user writes them; pure, private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.analysis import Analysis
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import (
    MAX_DURATION,
    Fields,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.source_url import (
    parse_source_url,
)

MAX_STEPS = 50
_FORMS = "weight: N, pause: SECONDS, pause: {} or analysis: {...}"


@dataclass(frozen=True)
class CanaryStep:
    """One step: C(weight) in percent, a C(pause) of C(seconds) (0: until promoted), or an C(analysis)."""

    kind: str
    weight: int = 0
    seconds: int = 0
    analysis: Analysis | None = None


def parse_steps(fields: Fields, defaults: Analysis) -> tuple[CanaryStep, ...]:
    """Read C(steps), refusing what does not begin with a weight or does not go up (B20)."""
    path = fields.path("steps")
    items = fields.items("steps")
    if not items:
        raise InvalidInput(path, list(items), f"needs at least one step: {_FORMS}")
    if len(items) > MAX_STEPS:
        raise InvalidInput(path, len(items), f"must have at most {MAX_STEPS} steps")
    steps: list[CanaryStep] = []
    highest = -1
    for index, item in enumerate(items):
        step = _step(item, f"{path}[{index}]", defaults)
        if step.kind != "weight" and not steps:
            raise InvalidInput(f"{path}[0]", step.kind, "must be a weight")
        if step.kind == "analysis" and highest == 0:
            raise InvalidInput(f"{path}[{index}]", step.kind, "needs a weight above 0 before it")
        if step.kind == "weight":
            if step.weight <= highest:
                raise InvalidInput(
                    f"{path}[{index}].weight",
                    step.weight,
                    f"canary weights must increase within 0-99, this one above {highest}",
                )
            highest = step.weight
        steps.append(step)
    return tuple(steps)


def _step(item: object, path: str, defaults: Analysis) -> CanaryStep:
    if not isinstance(item, Mapping) or len(item) != 1:
        raise InvalidInput(path, item, f"must be one of {_FORMS}")
    fields = Fields(item, path)
    if "weight" in item:
        return CanaryStep("weight", weight=_weight(fields))
    if "pause" in item:
        return CanaryStep("pause", seconds=_pause(fields))
    if "analysis" in item:
        asked = parse_analysis(fields.fields("analysis"), defaults)
        return CanaryStep("analysis", seconds=asked.duration, analysis=asked)
    raise InvalidInput(path, next(iter(item)), f"must be one of {_FORMS}")


def _weight(fields: Fields) -> int:
    value = fields.raw("weight")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 99:
        raise InvalidInput(
            fields.path("weight"),
            value,
            "canary weights must increase within 0-99 percent; all traffic is what comes after the last step",
        )
    return value


def _pause(fields: Fields) -> int:
    """Read seconds, C({duration: SECONDS}), or C({}): until it is promoted."""
    value = fields.raw("pause")
    if isinstance(value, Mapping):
        inner = Fields(value, fields.path("pause"))
        seconds = inner.seconds("duration", 1) if inner.has("duration") else 0
        inner.finish()
        return seconds
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_DURATION:
        raise InvalidInput(
            fields.path("pause"),
            value,
            f"must be a duration in whole seconds, 1-{MAX_DURATION}, or {{}} to wait for promote",
        )
    return value


def parse_analysis(fields: Fields, defaults: Analysis) -> Analysis:
    """Read an analysis; what is not given is as in C(defaults)."""
    asked = Analysis(
        duration=fields.seconds("duration", defaults.duration),
        max_error_rate=fields.number("max_error_rate", 0, 100, defaults.max_error_rate),
        max_latency_ratio=fields.number("max_latency_ratio", 0, 1000, defaults.max_latency_ratio),
        min_requests=fields.integer("min_requests", 1, 1_000_000, defaults.min_requests),
        timeout=fields.seconds("timeout", max(defaults.timeout, _duration(fields, defaults))),
        inconclusive=fields.choice("inconclusive", ("fail", "hold"), defaults.inconclusive),
        url=fields.text("url", defaults.url),
        success_condition=fields.text("success_condition", defaults.success_condition),
        failure_condition=fields.text("failure_condition", defaults.failure_condition),
        interval=fields.seconds("interval", defaults.interval),
    )
    fields.finish()
    if asked.timeout < asked.duration:
        raise InvalidInput(
            fields.path("timeout"), asked.timeout, f"must be at least duration, {asked.duration}"
        )
    _check_source(fields, asked)
    return asked


def _duration(fields: Fields, defaults: Analysis) -> int:
    return fields.seconds("duration", defaults.duration)


def _check_source(fields: Fields, asked: Analysis) -> None:
    if asked.url:
        parse_source_url(asked.url, fields.path("url"))
        if not asked.success_condition and not asked.failure_condition:
            raise InvalidInput(
                fields.path("success_condition"),
                "",
                "needs a JMESPath expression on what url answers, or failure_condition does",
            )
    elif asked.success_condition or asked.failure_condition:
        raise InvalidInput(fields.path("url"), "", "is required: the conditions are on its answer")


def steps_mapping(steps: tuple[CanaryStep, ...]) -> list[dict[str, object]]:
    """Return steps as C(parse_steps) reads them back."""
    return [_step_mapping(step) for step in steps]


def _step_mapping(step: CanaryStep) -> dict[str, object]:
    if step.kind == "weight":
        return {"weight": step.weight}
    if step.kind == "pause":
        return {"pause": step.seconds or {}}
    return {"analysis": asdict(step.analysis or Analysis())}
