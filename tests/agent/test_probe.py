"""The probe, on machines that are described here, and on this one."""

from dataclasses import dataclass, field

import pytest

from wherry.agent import default_root, detect
from wherry.agent.probe import parse_cpuinfo, parse_cuda, parse_nvidia, parse_sysctl
from wherry.agent.system import LocalSystem
from wherry.core.device import OsName

XEON = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu vme sse sse4_2 avx f16c avx2 fma avx512f avx512_vnni amx_int8
"""
RASPBERRY = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes fphp asimdhp asimddp
"""
SMI_QUERY = "NVIDIA H100 80GB HBM3, 550.54.15, 81559\nTesla T4, 550.54.15, 15360\nOrin (nvgpu), 540.3.0, [N/A]\n"
SMI_BANNER = "| NVIDIA-SMI 550.54.15              Driver Version: 550.54.15      CUDA Version: 12.4     |\n"
SYSCTL = (
    "hw.optional.neon: 1\nhw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_BF16: 0\nhw.optional.floatingpoint: 1\n"
)


@dataclass
class Machine:
    """A machine that exists in a test only."""

    name: OsName = "linux"
    version: str = "6.8"
    machine: str = "x86_64"
    files: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    features: frozenset[int] = frozenset()

    def os_name(self) -> OsName:
        return self.name

    def os_version(self) -> str:
        return self.version

    def arch(self) -> str:
        return self.machine

    def cpu(self) -> str:
        return "some processor"

    def cores(self) -> int:
        return 4

    def memory_bytes(self) -> int:
        return 8 * 2**30

    def read(self, path: str) -> str:
        return self.files.get(path, "")

    def ask(self, *argv: str) -> str:
        return self.answers.get(" ".join(argv[:2]), self.answers.get(argv[0], ""))

    def has_feature(self, number: int) -> bool:
        return number in self.features


def test_a_server_with_nvidia() -> None:
    query = "nvidia-smi --query-gpu=name,driver_version,memory.total"
    found = detect(Machine(files={"/proc/cpuinfo": XEON}, answers={query: SMI_QUERY, "nvidia-smi": SMI_BANNER}))
    assert found.cpu.startswith("Intel(R) Xeon")
    assert found.vector_extensions == ("amx_int8", "avx", "avx2", "avx512_vnni", "avx512f", "f16c", "fma", "sse4.2")
    assert found.device_types == ("gpu", "cpu")
    assert [one.name for one in found.accelerators] == ["NVIDIA H100 80GB HBM3", "Tesla T4", "Orin (nvgpu)"]
    assert [one.memory_bytes // 2**20 for one in found.accelerators] == [81559, 15360, 0]
    assert found.versions == {"cuda": "12.4"}


def test_a_raspberry_pi_is_known_by_its_board() -> None:
    files = {"/proc/cpuinfo": RASPBERRY, "/proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"}
    found = detect(Machine(machine="aarch64", files=files))
    assert found.cpu == "Raspberry Pi 5 Model B Rev 1.0"
    assert found.vector_extensions == ("dotprod", "fp16", "neon")
    assert found.device_types == ("cpu",)


def test_a_mac() -> None:
    answers = {"sysctl -n": "Apple M2 Pro\n", "sysctl hw.optional": SYSCTL}
    found = detect(Machine(name="macos", version="14.1", machine="arm64", answers=answers))
    assert found.cpu == "Apple M2 Pro"
    assert found.vector_extensions == ("dotprod", "neon")
    assert found.device_types == ("mps", "cpu")
    assert found.versions == {"macos": "14.1"}
    assert detect(Machine(name="macos", machine="x86_64")).device_types == ("cpu",)


def test_a_windows_machine() -> None:
    found = detect(Machine(name="windows", features=frozenset({39, 40})))
    assert (found.cpu, found.vector_extensions) == ("some processor", ("avx", "avx2"))


def test_a_machine_that_answers_nothing_is_a_cpu() -> None:
    found = detect(Machine())
    assert found.device_types == ("cpu",)
    assert found.cpu == "some processor"


def test_parsers_take_rubbish() -> None:
    assert parse_cpuinfo("") == ("", ())
    assert parse_sysctl("no colon\nhw.optional.neon: maybe") == ()
    assert parse_nvidia("NVIDIA-SMI has failed because it couldn't communicate with the driver") == ()
    assert parse_cuda("CUDA Version: N/A") is None


def test_this_machine() -> None:
    found = detect()
    assert found.cores >= 1
    assert found.memory_bytes > 2**26
    assert found.cpu
    assert found.runtimes["null"] == "built in"
    assert found.device_types[-1] == "cpu"


def test_questions_to_programs_that_are_absent_or_fail() -> None:
    local = LocalSystem()
    assert local.ask("no-such-program-here") == ""
    assert local.ask("false") == ""
    assert local.ask("echo", "hello") == "hello\n"
    assert local.read("/no/such/file") == ""
    assert local.has_feature(40) is False
    assert local.os_version()


@pytest.mark.parametrize(
    ("name", "root"),
    [("linux", "/opt/embereye"), ("macos", "/Applications/EmberEye"), ("windows", r"C:\Program Files/EmberEye")],
)
def test_default_roots(name: OsName, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROGRAMFILES", raising=False)
    assert str(default_root("EmberEye", name)) == root
    assert default_root("EmberEye").name.lower() == "embereye"
