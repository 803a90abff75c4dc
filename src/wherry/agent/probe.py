"""The probe: what this machine has. Every answer is optional; a machine that answers nothing is a CPU."""

import re

from wherry.agent.system import LocalSystem, System
from wherry.core.device import Accelerator, DeviceProfile

# Flags as Linux (x86 and arm), and `sysctl hw.optional` as macOS, spell them -> our word.
_FLAGS = {
    "sse4_2": "sse4.2",
    "avx": "avx",
    "avx2": "avx2",
    "f16c": "f16c",
    "fma": "fma",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx_vnni": "avx_vnni",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "asimd": "neon",
    "neon": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "hw.optional.neon": "neon",
    "hw.optional.advsimd": "neon",
    "hw.optional.arm.feat_fp16": "fp16",
    "hw.optional.arm.feat_dotprod": "dotprod",
    "hw.optional.arm.feat_i8mm": "i8mm",
    "hw.optional.arm.feat_bf16": "bf16",
    "hw.optional.sse4_2": "sse4.2",
    "hw.optional.avx1_0": "avx",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
}
# winnt.h, PF_*_INSTRUCTIONS_AVAILABLE.
_WINDOWS_FEATURES = {38: "sse4.2", 39: "avx", 40: "avx2", 41: "avx512f", 19: "neon", 43: "dotprod"}
_CPU_NAME = re.compile(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", re.MULTILINE)
_CPU_FLAGS = re.compile(r"^(?:flags|Features)\s*:\s*(.+)$", re.MULTILINE)
_CUDA = re.compile(r"CUDA Version\s*:\s*([0-9]+(?:\.[0-9]+)*)")
_NVIDIA_QUERY = ("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits")
_NVIDIA_ROW = re.compile(r"(?P<name>.+?), *(?P<driver>[0-9.]+), *(?P<memory>[^,]+)")
_MIB = 1024 * 1024


def detect(system: System | None = None) -> DeviceProfile:
    """Return what the machine has: processor, memory, accelerators, installed runtimes. Takes well under a second.

    A runtime counts as installed when its engine can name its version; whether it really runs a variant here is what
    the proof before the switch finds out.
    """
    machine = system or LocalSystem()
    name, extensions = _processor(machine)
    accelerators, versions = _nvidia(machine)
    accelerators += _apple(machine, name)
    if machine.os_name() == "macos":
        versions["macos"] = machine.os_version()
    return DeviceProfile(
        os=machine.os_name(),
        arch=machine.arch(),
        cpu=name,
        cores=machine.cores(),
        memory_bytes=machine.memory_bytes(),
        vector_extensions=extensions,
        accelerators=accelerators,
        runtimes=installed_runtimes(),
        versions=versions,
    )


def installed_runtimes() -> dict[str, str]:
    """Return the engines that can be opened here, with their versions. Imports no runtime."""
    from wherry.runtime.engines import ENGINES, engine_class

    versions = {name: engine_class(name).version() for name in ENGINES}
    return {name: version for name, version in versions.items() if version is not None}


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the processor's name and its vector extensions from the text of `/proc/cpuinfo`."""
    name = _CPU_NAME.search(text)
    flags = _CPU_FLAGS.search(text)
    return name[1].strip() if name else "", _known(flags[1].split() if flags else [])


def parse_sysctl(text: str) -> tuple[str, ...]:
    """Return the vector extensions from `sysctl hw.optional`, lines such as `hw.optional.neon: 1`."""
    pairs = (line.partition(":") for line in text.splitlines())
    return _known([key.strip().lower() for key, _, value in pairs if value.strip() == "1"])


def parse_nvidia(text: str) -> tuple[Accelerator, ...]:
    """Return the GPUs from `nvidia-smi --query-gpu=name,driver_version,memory.total` as CSV without units (MiB)."""
    rows = (_NVIDIA_ROW.fullmatch(line.strip()) for line in text.splitlines())
    return tuple(
        Accelerator(
            device_type="gpu",
            name=row["name"],
            driver=row["driver"],
            memory_bytes=int(row["memory"]) * _MIB if row["memory"].isdigit() else 0,
        )
        for row in rows
        if row is not None
    )


def parse_cuda(text: str) -> str | None:
    """Return the newest CUDA that the driver runs, from the banner of `nvidia-smi`."""
    found = _CUDA.search(text)
    return found[1] if found else None


def _processor(machine: System) -> tuple[str, tuple[str, ...]]:
    if machine.os_name() == "macos":
        name = machine.ask("sysctl", "-n", "machdep.cpu.brand_string").strip()
        return name or machine.cpu(), parse_sysctl(machine.ask("sysctl", "hw.optional"))
    if machine.os_name() == "windows":
        return machine.cpu(), tuple(word for number, word in _WINDOWS_FEATURES.items() if machine.has_feature(number))
    name, extensions = parse_cpuinfo(machine.read("/proc/cpuinfo"))
    # A Raspberry Pi names its board in the device tree and not its processor in cpuinfo.
    board = machine.read("/proc/device-tree/model").rstrip("\0\n")
    return name or board or machine.cpu() or machine.arch(), extensions


def _nvidia(machine: System) -> tuple[tuple[Accelerator, ...], dict[str, str]]:
    found = parse_nvidia(machine.ask("nvidia-smi", *_NVIDIA_QUERY))
    if not found:
        return (), {}
    cuda = parse_cuda(machine.ask("nvidia-smi"))
    return found, {"cuda": cuda} if cuda else {}


def _apple(machine: System, cpu: str) -> tuple[Accelerator, ...]:
    if machine.os_name() != "macos" or machine.arch() != "arm64":
        return ()
    # Its memory is the machine's: one pool for processor and GPU.
    return (Accelerator(device_type="mps", name=f"{cpu} GPU", memory_bytes=machine.memory_bytes()),)


def _known(flags: list[str]) -> tuple[str, ...]:
    return tuple(sorted({_FLAGS[flag] for flag in flags if flag in _FLAGS}))
