# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Real ansible-playbook processes, disturbed at a chosen point while requests run; then what must hold is looked at.

C(python -m tools.chaos) goes through the matrix of points, faults and next runs. It is not part of the collection.
"""
