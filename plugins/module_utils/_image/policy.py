# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy: the table of its rules, and what a waiver does to a finding; private, no stability promised."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._image.finding import (
    Finding,
    Found,
    ImageUnderCheck,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.policy_app import (
    logs_to_stdout,
    no_package_manager,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.policy_config import (
    base_by_digest,
    required_without_default,
    user_is_numeric,
    version_is_fixed,
    within_budget,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.policy_files import (
    neutral,
    no_credentials,
    no_new_privileges,
    no_secrets,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.policy_licences import (
    licences_allowed,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.policy_lock import (
    is_what_was_locked,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe_policy import Waiver

_DEPENDENCIES = "II Dependencies"
_CONFIG = "III Config"
_BUILD = "V Build, release, run"
_LOGS = "XI Logs"


@dataclass(frozen=True)
class Rule:
    """A rule of the policy; factor is the one of the twelve-factor app it stands for, if any."""

    id: str
    title: str
    factor: str
    check: t.Callable[[ImageUnderCheck], t.Iterable[Found]]


RULES = (
    Rule("P1", "the base is named by digest", _DEPENDENCIES, base_by_digest),
    Rule("P2", "the version is fixed and names no environment", _BUILD, version_is_fixed),
    Rule("P3", "the lock is fresh and describes what is in it", _DEPENDENCIES, is_what_was_locked),
    Rule("P4", "the user is a number and not root", "", user_is_numeric),
    Rule("P5", "no file gives privileges", "", no_new_privileges),
    Rule("P6", "no secret in a file", _CONFIG, no_secrets),
    Rule("P7", "no credentials by name", _CONFIG, no_credentials),
    Rule("P8", "no package manager ran in an app", _BUILD, no_package_manager),
    Rule("P9", "logs go to stdout", _LOGS, logs_to_stdout),
    Rule("P10", "within the budget of size and layers", "", within_budget),
    Rule("P11", "licences are allowed", "", licences_allowed),
    Rule("P12", "what is required from outside has no default", _CONFIG, required_without_default),
    Rule("P13", "no CA, proxy or token of the build site", _CONFIG, neutral),
)
_BY_ID = {rule.id: rule for rule in RULES}


def judge(check: ImageUnderCheck) -> list[Finding]:
    """Ask every rule; return the findings in the order of the rules, then what waivers were for nothing."""
    findings: list[Finding] = []
    used: set[Waiver] = set()
    for rule in RULES:
        for found in rule.check(check):
            finding = _weigh(rule, found, check, used)
            if finding not in findings:
                findings.append(finding)
    findings += [_unused(waiver) for waiver in check.policy.waivers if waiver not in used]
    return findings


def _weigh(rule: Rule, found: Found, check: ImageUnderCheck, used: set[Waiver]) -> Finding:
    digest = found.sha256 or _content(found.path, check)
    plain = Finding(rule.id, rule.title, rule.factor, found.what, found.path, digest, found.note)
    if found.note:
        return plain
    covering = [w for w in check.policy.waivers if w.covers(rule.id, found.path, digest)]
    used.update(covering)
    for waiver in covering:
        if not waiver.expired(check.today):
            return _with(plain, waiver=waiver)
    if not covering:
        return plain
    last = max(covering, key=lambda waiver: waiver.expires)
    what = f"{found.what}; its waiver expired on {last.expires} ({last.reason})"
    return _with(plain, what=what, expired=last)


def _with(
    finding: Finding, what: str = "", waiver: Waiver | None = None, expired: Waiver | None = None
) -> Finding:
    return Finding(
        finding.rule,
        finding.title,
        finding.factor,
        what or finding.what,
        finding.path,
        finding.sha256,
        finding.note,
        waiver,
        expired,
    )


def _content(path: str, check: ImageUnderCheck) -> str:
    """Return the hash of the file a finding is about, so that every waiver can name it by content."""
    node = check.image.nodes.get(path.strip("/")) if path else None
    return check.image.sha256(node) if node is not None and node.is_file else ""


def _unused(waiver: Waiver) -> Finding:
    rule = _BY_ID[waiver.rule]
    what = f"the waiver of {waiver} matches nothing ({waiver.reason}); remove it"
    return Finding(rule.id, rule.title, rule.factor, what, waiver.path, waiver.sha256, note=True)


def failure_line(name: str, finding: Finding) -> str:
    """Return the line a person reads: rule, factor, what, and how to waive it."""
    factor = f" (factor {finding.factor})" if finding.factor else ""
    return f"{finding.rule}{factor} {name}: {finding.what}; to waive: policy.waivers: [{_waive(finding)}]"


def _waive(finding: Finding) -> str:
    parts = [f"rule: {finding.rule}"]
    if finding.path:
        parts.append(f"path: {finding.path}")
    if finding.sha256 and finding.rule == "P6":
        parts.append(f"sha256: {finding.sha256}")
    return "{" + ", ".join([*parts, "reason: ...", "expires: YYYY-MM-DD"]) + "}"
