# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Writes receipt.json and receipt.html, each in one piece."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.receipt.page import render_html


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write(receipt: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write both forms; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / "receipt.json", folder / "receipt.html"
    _replace(data, json.dumps(receipt, indent=1) + "\n")
    _replace(page, render_html(receipt))
    return data, page
