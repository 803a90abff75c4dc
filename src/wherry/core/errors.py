"""Every error wherry raises, in one tree, each with an exit code and the next step for the reader.

WherryError                       1  a bug in wherry
├── UsageError                    2  the command line was wrong
├── RefusedError                  3  a gate, a proof, a scan or a policy said no
│   ├── ProofRefusedError
│   ├── ScanRefusedError
│   ├── GateRefusedError
│   └── ConflictError                somebody else changed it first
├── BadInputError                 4  what was given cannot be used
│   ├── NotFoundError
│   ├── DocumentError                a JSON document does not fit its type
│   ├── CheckpointError
│   ├── SpecMismatchError            a spec contradicts the network
│   └── ExportError                  a target's tools cannot convert a program
├── ToolchainMissingError         5  an extra or a vendor's tool is not installed
├── TrustError                    6  what arrived is not what was signed
│   ├── SignatureError
│   ├── ExpiredError
│   ├── RollbackError                an older release than the device has seen
│   ├── DigestMismatchError
│   └── BundleError                  the container itself is damaged or hostile
└── DeviceError                   7  the device or storage failed
    ├── StorageError
    ├── BusyError                    another process holds the lock
    ├── EngineError                  a runtime could not load or run a variant
    ├── ChildError                   a child process crashed, hung or ran out of memory
    └── HealthError                  the service was not healthy after the switch
"""

from typing import ClassVar


class WherryError(Exception):
    """Base of all errors: `message` says what happened, `next_step` what the reader can do now."""

    exit_code: ClassVar[int] = 1
    default_next_step: ClassVar[str] = (
        "This is a bug in wherry: run it again with WHERRY_DEBUG=1 and report what it prints."
    )

    def __init__(self, message: str, *, next_step: str | None = None) -> None:
        """Keep the sentence and the next step; `str(error)` is the sentence alone."""
        super().__init__(message)
        self.message = message
        self.next_step = next_step if next_step is not None else self.default_next_step


class UsageError(WherryError):
    """The command line was wrong."""

    exit_code = 2
    default_next_step = "Run the command with `--help` to see what it takes."


class RefusedError(WherryError):
    """A gate, a proof, a scan or a policy refused."""

    exit_code = 3
    default_next_step = "Read the report named in the message, mend the cause and try again."


class ProofRefusedError(RefusedError):
    """A variant did not reproduce the reference outputs."""


class ScanRefusedError(RefusedError):
    """A file holds something that was not allowed by name, so it was not opened."""

    default_next_step = "Get the weights as a plain state_dict or a safetensors file from a source you trust."


class GateRefusedError(RefusedError):
    """A number missed its gate."""


class ConflictError(RefusedError):
    """Somebody else changed it between reading and writing; nothing was written."""

    default_next_step = "Look at the present state with `wherry log` and decide again."


class BadInputError(WherryError):
    """What was given cannot be used."""

    exit_code = 4
    default_next_step = "Check the input named in the message."


class NotFoundError(BadInputError):
    """A model, version, alias, target or file does not exist."""


class DocumentError(BadInputError):
    """A JSON document does not fit its type; the message holds the path inside the document."""


class CheckpointError(BadInputError):
    """A file is not a checkpoint that can be opened."""


class SpecMismatchError(BadInputError):
    """A model spec contradicts the network it describes."""


class ExportError(BadInputError):
    """A target's tools cannot convert a program."""

    default_next_step = "Choose another target, or change what the message names in the network and register it again."


class ToolchainMissingError(WherryError):
    """An extra or a vendor's tool is not installed; `next_step` holds the exact command."""

    exit_code = 5
    default_next_step = "Install the missing extra."


class TrustError(WherryError):
    """What arrived is not what was signed."""

    exit_code = 6
    default_next_step = "Do not install this bundle; get it again from the training site."


class SignatureError(TrustError):
    """A signature is missing, unknown or wrong."""


class ExpiredError(TrustError):
    """Signed metadata is past its expiry."""

    default_next_step = "Ask the training site to sign the bundle again with `wherry bundle`."


class RollbackError(TrustError):
    """An older release than this device has already seen."""

    default_next_step = "To go back on purpose, publish the old version as a new release with `wherry bundle`."


class DigestMismatchError(TrustError):
    """Bytes do not have the digest that was signed for them."""


class BundleError(TrustError):
    """The container is truncated, damaged or hostile."""


class DeviceError(WherryError):
    """The device or its storage failed."""

    exit_code = 7
    default_next_step = "Look at `wherry device status` and mend the device, then try again."


class StorageError(DeviceError):
    """A folder could not be read or written, or the disk is full."""

    default_next_step = "Check free space and permissions of the folder, then run the same command again."


class BusyError(DeviceError):
    """Another process holds the lock."""

    default_next_step = "Wait until the other process has ended, then run the same command again."


class EngineError(DeviceError):
    """A runtime could not load or run a variant."""


class ChildError(DeviceError):
    """A child process crashed, hung or ran out of memory; the message says which, with its last line."""

    default_next_step = "Run the same command again; if it ends the same way, read the child's log."


class HealthError(DeviceError):
    """The service was not healthy after the switch."""
