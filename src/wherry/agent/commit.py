"""From COMMIT to IDLE: make the new release the settled one, then tidy up. Every step may be done twice."""

import shutil
from contextlib import suppress

from wherry.agent.backup import prune
from wherry.agent.machine import Machine
from wherry.agent.pointer import write_pointer
from wherry.agent.states import State
from wherry.bundle.release import Release, open_release
from wherry.bundle.trust.highwater import raise_highwater
from wherry.core.errors import WherryError
