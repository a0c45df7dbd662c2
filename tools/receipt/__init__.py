# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The receipt of a cutover: what clients saw, beside what was done to which replica and when."""

from __future__ import annotations

from tools.receipt.build import Cutover, build
from tools.receipt.page import render_html
from tools.receipt.text import render_text
from tools.receipt.write import write

__all__ = ["Cutover", "build", "render_html", "render_text", "write"]
