# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Tools for developing, demonstrating and measuring; no part of the installed collection."""

from __future__ import annotations
