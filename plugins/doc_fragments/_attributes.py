# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module of the collection can do; private, no stability promised."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of modules that change something, and of those that only look."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return what the real run would return, without changing anything.
    support: full
  diff_mode:
    description: Returns what changes, as before and after of the same shape.
    support: full
  idempotent:
    description: Running it again when nothing else has changed reports that nothing changed.
    support: full
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode; it never changes anything.
    support: full
  diff_mode:
    description: Returns what changes, as before and after of the same shape.
    support: N/A
    details: It never changes anything.
  idempotent:
    description: Running it again when nothing else has changed reports that nothing changed.
    support: full
"""
