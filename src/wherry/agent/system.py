"""What the probe asks of the machine, in one small interface, so that a test can describe a macOS or a Windows."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from wherry.core.device import OsName

QUESTION_TIMEOUT_S = 10.0
"""A driver that hangs must not hang the agent."""


class System(Protocol):
    """The questions."""

    def os_name(self) -> OsName:
        """Return the operating system."""
        ...

    def os_version(self) -> str:
        """Return its version as its maker counts: `14.1` on macOS, the kernel's elsewhere."""
        ...

    def arch(self) -> str:
        """Return `x86_64`, `aarch64`, `arm64`, … in lower case."""
        ...

    def cpu(self) -> str:
        """Return what the platform calls the processor; may be empty."""
        ...

    def cores(self) -> int:
        """Return how many processors this process may use."""
        ...

    def memory_bytes(self) -> int:
        """Return the physical memory."""
        ...

    def read(self, path: str) -> str:
        """Return a small text file, or an empty string when there is none."""
        ...

    def ask(self, *argv: str) -> str:
        """Return what a program prints, or an empty string when it is absent, fails or hangs."""
        ...

    def has_feature(self, number: int) -> bool:
        """Return Windows' `IsProcessorFeaturePresent(number)`; False elsewhere."""
        ...


class LocalSystem:
    """This machine."""

    def os_name(self) -> OsName:
        """Return the operating system; anything that is neither Windows nor macOS is treated as Linux."""
        if sys.platform == "win32":
            return "windows"
        return "macos" if sys.platform == "darwin" else "linux"

    def os_version(self) -> str:
        """Return the version."""
        return platform.mac_ver()[0] or platform.release()

    def arch(self) -> str:
        """Return the architecture; Windows' `AMD64` is `x86_64`."""
        found = platform.machine().lower()
        return "x86_64" if found == "amd64" else found

    def cpu(self) -> str:
        """Return the processor's name."""
        return platform.processor()

    def cores(self) -> int:
        """Return how many processors this process may use, which in a container may be fewer than there are."""
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def memory_bytes(self) -> int:
        """Return the physical memory."""
        import psutil

        return int(psutil.virtual_memory().total)

    def read(self, path: str) -> str:
        """Return the text of a file, or an empty string."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def ask(self, *argv: str) -> str:
        """Return the program's output, or an empty string."""
        try:
            done = subprocess.run(
                argv, capture_output=True, timeout=QUESTION_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.decode(errors="replace")

    def has_feature(self, number: int) -> bool:
        """Return whether Windows knows the processor feature."""
        if sys.platform == "win32":
            import ctypes

            return bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(number))
        return False
