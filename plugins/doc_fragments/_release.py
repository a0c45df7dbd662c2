# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the release modules; private, no stability promised."""

from __future__ import annotations


class ModuleDocFragment:
    """The app spec and where the host keeps what it remembers."""

    DOCUMENTATION = r"""
options:
  spec:
    description:
      - The app spec, validated whole before anything changes. Every refusal names the option path, what is allowed and
        what was found.
      - Its keys are C(app), C(image) (V(name@sha256:...), never a tag), C(version), C(env), C(secrets),
        C(processes), C(load_balancers), C(strategy), C(network), C(retain), C(verify), C(verify_keys),
        C(fleet) and C(tasks). The role P(immutable.cutover.release#role) documents each of them as C(release_KEY) and
        makes this mapping from its variables.
      - C(secrets) maps a name to C(source), a file on the host, and C(sha256); a value never is part of a spec.
    type: dict
    required: true
  to:
    description:
      - Which release is wanted. Empty is the one that O(spec) describes.
      - V(previous) is the last completed release before the one that runs now, with its image B(and) its configuration.
      - V(promote) is the release that waits at a gate, which it passes. V(abort) is V(undo), for the
        release that a run has begun and not completed. Where none is under way both do nothing.
      - V(undo) is the last completed release, or none at all where there never was one. V(finish) is the release that a
        run began and did not complete, or where there is none the last completed one.
      - V(recover) is V(finish) when all replicas of the begun release serve already, or when some do and there never
        was another release; else it is V(undo).
      - Everything else names a kept release by version, release ID or image.
    type: str
    default: ''
  approved:
    description:
      - With O(to=promote), the release that is meant, by version, release ID or image. Where another one waits at the
        gate, or none does and this one does not run either, that is refused before anything changes. Empty promotes
        whatever waits.
      - With O(to=abort), the release that is to be given up. Where another one is under way it is left as it is, and
        nothing happens. Empty gives up whatever is under way.
    type: str
    default: ''
  rollback_unsafe:
    description:
      - Go back even across a task of a newer release that is not C(rollback_safe), with O(to) V(previous), V(abort),
        V(undo) or a named release. Without it that is refused before anything changes.
    type: bool
    default: false
  state_dir:
    description:
      - Folder on the host for the lease, the journal and the release records, mode 0700.
    type: path
    default: /var/lib/immutable-cutover
"""
