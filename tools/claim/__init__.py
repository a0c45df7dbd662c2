# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The claim that a cutover loses nothing, put to many cutovers in a row, beside naive orders that do lose."""
