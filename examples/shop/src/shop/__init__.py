# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""A small honest 12-factor web app: the sample that this collection bakes and replaces."""

from __future__ import annotations
