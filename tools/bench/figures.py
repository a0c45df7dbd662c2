# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The file that every part of the bench writes its figures into."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tools.sample import ROOT

PATH = ROOT / "build" / "bench.json"


def note(measured: Mapping[str, float | int], path: Path = PATH, *, whole: bool = False) -> None:
    """Put figures beside those of other parts and of earlier runs; a run of the whole bench starts anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() and not whole else {}
    path.write_text(json.dumps({**known, **measured}, indent=1) + "\n", encoding="utf-8")
