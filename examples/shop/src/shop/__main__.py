# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""`python -m shop`: read the environment and serve."""

from __future__ import annotations

import os
import sys

from shop.config import ConfigError, load
from shop.log import setup

EX_CONFIG = 78


def main() -> int:
    try:
        config = load(os.environ)
    except ConfigError as exc:
        setup("info", os.environ.get("HOSTNAME", "unknown"), "unknown").error(str(exc))
        return EX_CONFIG
    log = setup(config.log_level, config.instance, config.version)
    from shop.server import run  # late, so that a wrong environment is reported before the imports

    run(config, log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
