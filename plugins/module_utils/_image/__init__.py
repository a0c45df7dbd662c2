# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipe, lock, layers and records of baked images; private, no stability promised."""
