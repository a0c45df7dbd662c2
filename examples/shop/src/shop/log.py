# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Logs are a stream of JSON lines on stdout; where they go is the platform's business."""

from __future__ import annotations

import json
import logging
import sys
import time


class JsonFormatter(logging.Formatter):
    """One JSON object per record; what was passed as `extra={"fields": {...}}` is merged in."""

    def __init__(self, instance: str, version: str) -> None:
        super().__init__()
        self.base = {"instance": instance, "version": version}

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **self.base,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def setup(level: str, instance: str, version: str) -> logging.Logger:
    """Send all logging of this process to stdout as JSON lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(instance, version))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    return logging.getLogger("shop")
