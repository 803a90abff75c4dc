"""What holds for every test."""

from hypothesis import settings

# A shared machine is sometimes slow: how long an example takes says nothing about whether it is right.
settings.register_profile("wherry", deadline=None)
settings.load_profile("wherry")
