# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Runs the test suite, several jobs at a time, and counts what passed and failed."""
