"""Verify and let go; expect a refusal. Shared by the tests of trust."""

from datetime import datetime
from pathlib import Path

import pytest
from tests.bundle.publishers import NOW, everything

from wherry.bundle.trust.trusted import Trusted
from wherry.bundle.trust.verify import verify
from wherry.core.errors import (
    TrustError,
)


def check(path: Path, state: Path, *, root: bytes | None = None, now: datetime = NOW) -> Trusted:
    """Verify and let go of the file."""
    trusted = verify(path, state, root=root, now=now)
    trusted.close()
    return trusted


def refused(
    path: Path,
    state: Path,
    kind: type[TrustError],
    match: str,
    *,
    root: bytes | None = None,
    now: datetime = NOW,
) -> TrustError:
    """Expect a refusal in one sentence with a next step, and a device that has not changed."""
    before = everything(state)
    with pytest.raises(kind, match=match) as caught:
        verify(path, state, root=root, now=now)
    assert type(caught.value) is kind
    assert caught.value.exit_code == 6
    assert caught.value.next_step
    assert caught.value.message.endswith(".")
    assert everything(state) == before
    return caught.value
