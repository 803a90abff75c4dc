"""What holds for every test."""

import os

from hypothesis import settings

# Settings of whoever runs the tests are not those of the tests.
for _name in [name for name in os.environ if name.startswith("WHERRY_")]:
    del os.environ[_name]

# A shared machine is sometimes slow: how long an example takes says nothing about whether it is right.
settings.register_profile("wherry", deadline=None)
settings.load_profile("wherry")
