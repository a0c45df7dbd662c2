# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""`python -m tools.receipt`: the receipt of cutovers that ran under load."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.receipt.build import Cutover, build
from tools.receipt.text import render_text
from tools.receipt.write import write


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise argparse.ArgumentTypeError(f"{text}: expected NAME=VALUE")
    return name, value


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(prog="python -m tools.receipt", description=__doc__)
    parse.add_argument("--app", required=True)
    parse.add_argument("--journal", required=True, type=Path, help="journal.jsonl of the app")
    parse.add_argument(
        "--cutover",
        required=True,
        action="append",
        type=_pair,
        metavar="NAME=FOLDER",
        help="a cutover and the folder of the load that ran meanwhile; may be repeated",
    )
    parse.add_argument("--tool", action="append", type=_pair, default=[], metavar="NAME=VERSION")
    parse.add_argument("--out", required=True, type=Path, help="folder of the receipt")
    return parse


def main() -> int:
    """Exit code 0: nothing failed and everything is accounted for; 1 otherwise."""
    chosen = parser().parse_args()
    cutovers = [Cutover(name, Path(load), chosen.journal) for name, load in chosen.cutover]
    receipt = build(chosen.app, cutovers, dict(chosen.tool))
    paths = write(receipt, chosen.out)
    print(render_text(receipt))
    print("\n".join(str(path) for path in paths))
    requests = receipt["requests"]
    return 1 if requests["failed"] or requests["planned"] != requests["accounted"] else 0


if __name__ == "__main__":
    sys.exit(main())
