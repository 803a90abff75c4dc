"""The device program: it must never be broken.

Killed at any instant, a device comes back on the old release or on the new one, never on neither. `states.py` is the
whole machine on one page: what follows what, what undoes what, and what a start after a crash does. `device.py` holds
the verbs. Nothing here imports torch, a runtime or the training site.
"""
