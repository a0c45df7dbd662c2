# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of journal_info: show what it found."""

from __future__ import annotations

from ansible_collections.immutable.cutover.plugins.plugin_utils._show import ShowingAction


class ActionModule(ShowingAction):
    """Show what runs did."""

    MODULE = "immutable.cutover.journal_info"
