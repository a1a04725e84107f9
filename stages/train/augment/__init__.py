"""Augmentation: what happens to a rig, and to everything that is known about it, before the student sees it.

`draws.py` says what is drawn and from what; the other files do one thing each. docs/method.md says what stays exact.
"""

from stages.train.augment.draws import Draw, draw_for
from stages.train.augment.rig import augment_rig
from stages.train.augment.window import WHOLE, Window

__all__ = ["WHOLE", "Draw", "Window", "augment_rig", "draw_for"]
