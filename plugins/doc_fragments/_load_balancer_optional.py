# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of C(_load_balancer) where they need not be given; private, no stability promised."""

from __future__ import annotations

from ansible_collections.immutable.cutover.plugins.doc_fragments._load_balancer import (
    ModuleDocFragment as Required,
)


class ModuleDocFragment:
    """The same suboptions; the list itself may be left out."""

    # With an annotation, for ansible-test's yamllint takes any plain assignment here for a literal.
    DOCUMENTATION: str = Required.DOCUMENTATION.replace(
        "\n    required: true\n", "\n    default: []\n", 1
    )
