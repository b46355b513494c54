"""Detection, on recorded machines: what each one is, where it was read, and what is said to be unknown.

The machines are in `machines/*.txt`: files (`=== path`), answers of commands (`$ command`), commands that
fail (`$! command` and the word of the trouble). The engine's list of devices is the command `engine`.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from domicile import hardware, i18n
from domicile.hardware import PROBES, calibrate, cpu, machine, memory, nvidia, vulkan
from domicile.hardware.machine import Machine, Said
from domicile.types import Hardware

MACHINES = Path(__file__).parent / "machines"
NAMES = sorted(file.stem for file in MACHINES.glob("*.txt"))
GIB, MIB, KIB = 2**30, 2**20, 2**10


class Answers:
    """The fake of a shell: a table of commands and what they said. Counts how often it was asked."""

    def __init__(self) -> None:
        self.table: dict[str, Said] = {}
        self.asked: list[str] = []

    def __call__(self, command: Sequence[str], timeout_s: float) -> Said:
        assert 0 < timeout_s <= 10
        said = "engine" if list(command[1:]) == ["-c", vulkan.PROGRAM] else " ".join(command)
        self.asked.append(said)
        return self.table.get(said, Said(None, "missing"))


def recorded(name: str, root: Path) -> Machine:
    """Lay out a recorded machine under `root`."""
    facts: dict[str, str] = {}
    environ: dict[str, str] = {}
    answers = Answers()
    blocks = re.split(r"^(?====|\$)", (MACHINES / f"{name}.txt").read_text("utf-8"), flags=re.MULTILINE)
    for line in blocks[0].splitlines():
        word, _, rest = line.partition(" ")
        if word == "environ":
            key, _, value = rest.partition("=")
            environ[key] = value
        elif word != "#":
            facts[word] = rest
    for block in blocks[1:]:
        head, _, body = block.partition("\n")
        if head.startswith("==="):
            path, _, how = head.removeprefix("===").strip().partition(" | ")
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if how.startswith("repeat"):
                _, count, _, cores = how.split()
                body = "".join(
                    body.replace("{n}", str(n)).replace("{core}", str(n % int(cores))) for n in range(int(count))
                )
            with file.open("a" if how == "append" else "w", encoding="utf-8", newline="\n") as out:
                out.write(body)
        elif head.startswith("$!"):
            trouble: Any = body.strip()
            answers.table[head[2:].strip()] = Said(None, trouble)
        else:
            answers.table[head[1:].strip()] = Said(body)
    system: Any = facts["system"]
    return Machine(root, answers, system, facts["arch"], facts["release"], here=False, environ=environ)


def detected(name: str, root: Path) -> Hardware:
    return hardware.detect(root, recorded(name, root))


def keys(found: Hardware) -> set[str]:
    return {each.key for each in found.unknown}


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_is_described_and_every_sentence_of_it_can_be_said(name: str, tmp_path: Path) -> None:
    found = detected(name, tmp_path)
    assert isinstance(found, Hardware)
    json.dumps([repr(found)])
    words = {lang: i18n.words(lang) for lang in i18n.LANGUAGES}
    for reason in [*found.unknown, *found.why.values(), *(gpu.why for gpu in found.gpus if gpu.why)]:
        for lang in i18n.LANGUAGES:
            fields = set(re.findall(r"\{(\w+)", words[lang][reason.key]))
            assert fields <= set(reason.facts), reason


def test_this_kind_of_vm(tmp_path: Path) -> None:
    found = detected("vm", tmp_path)
    assert (found.cpu, found.physical_cores, found.logical_cores) == ("AMD EPYC", 2, 2)
    assert found.usable_cores == 2.0
    assert {"avx2", "avx512f", "avx512_vnni", "avx512_bf16"} <= set(found.features)
    assert "amx_int8" not in found.features
    assert found.ram_bytes == 24684100 * KIB
    assert found.ram_available_bytes == 23737296 * KIB
    assert found.container_limit_bytes is None
    assert found.gpus == ()
    assert found.unknown == ()


def test_a_laptop_with_two_kinds_of_graphics_shows_each_once(tmp_path: Path) -> None:
    found = detected("laptop_rtx4060", tmp_path)
    assert (found.physical_cores, found.logical_cores) == (10, 16)
    rtx, uhd = found.gpus
    assert (rtx.name, rtx.backend) == ("NVIDIA GeForce RTX 4060 Laptop GPU", "cuda")
    assert (rtx.vram_bytes, rtx.vram_free_bytes) == (8188 * MIB, 7637 * MIB)
    assert (rtx.driver, rtx.compute_capability) == ("550.107.02", "8.9")
    assert (uhd.name, uhd.backend, uhd.unified) == ("Intel UHD Graphics", "intel", True)
    assert uhd.driver == "i915"
    assert found.unknown == ()


def test_two_cards_of_one_name_are_two_also_with_an_old_driver(tmp_path: Path) -> None:
    box = recorded("two_rtx3090", tmp_path)
    found = hardware.detect(tmp_path, box)
    assert [gpu.vram_free_bytes for gpu in found.gpus] == [24161 * MIB, 1203 * MIB]
    assert [gpu.compute_capability for gpu in found.gpus] == [None, None]
    again = hardware.refresh(found, tmp_path, box)
    assert [gpu.vram_free_bytes for gpu in again.gpus] == [24161 * MIB, 1203 * MIB]
    now = hardware.load(box)
    assert [gpu.busy_percent for gpu in now.gpus] == [0.0, 98.0]
    assert [gpu.power_watts for gpu in now.gpus] == [24.1, None]
    assert now.gpus[1].vram_used_bytes == 23373 * MIB


def test_a_radeon_and_the_processors_own_graphics(tmp_path: Path) -> None:
    box = recorded("rx7900xtx", tmp_path)
    found = hardware.detect(tmp_path, box)
    card, small = found.gpus
    assert (card.name, card.backend, card.unified) == ("AMD Radeon RX 7900 XTX", "rocm", False)
    assert card.vram_bytes == 25753026560
    assert card.vram_free_bytes == 25753026560 - 1204224000
    assert (small.name, small.unified, small.vram_bytes) == ("AMD Radeon Graphics", True, 16412381184)
    now = hardware.load(box)
    assert now.cpu_temperature_celsius == 41.25
    assert (now.gpus[0].busy_percent, now.gpus[0].temperature_celsius, now.gpus[0].power_watts) == (
        37.0,
        48.0,
        112.0,
    )
    assert now.gpus[1].power_watts is None


def test_an_arc_gets_what_its_driver_hides_from_the_engine(tmp_path: Path) -> None:
    found = detected("arc_a770", tmp_path)
    (card,) = found.gpus
    assert (card.name, card.backend, card.unified) == ("Intel Arc A770", "intel", False)
    assert (card.vram_bytes, card.vram_free_bytes) == (16225243136, 16000000000)
    assert found.unknown == ()
    (tmp_path / "no").mkdir()
    alone = recorded("arc_a770", tmp_path / "no")
    assert isinstance(alone.run, Answers)
    alone.run.table["engine"] = Said(None, "too_slow")
    found = hardware.detect(tmp_path, alone)
    assert found.gpus[0].vram_bytes == 16 * GIB
    assert found.gpus[0].vram_free_bytes is None
    assert keys(found) == {"unknown.vram_free", "unknown.engine_devices"}


def test_a_container_gets_its_own_limits_not_the_servers(tmp_path: Path) -> None:
    found = detected("container_v2", tmp_path)
    assert found.logical_cores == 88
    assert found.usable_cores == 2.5
    assert found.why["usable_cores"].key == "why.cpu_quota"
    assert calibrate.threads_for(found) == 2
    assert found.container_limit_bytes == 4 * GIB
    # 2 GiB are counted as used, 1 of them idle pages of files that the kernel gives back when asked.
    assert found.ram_available_bytes == 3 * GIB
    assert found.why["ram_available_bytes"].key == "why.container"
    assert {"amx_int8", "amx_tile", "avx512_fp16"} <= set(found.features)


def test_an_older_container_whose_path_is_the_hosts(tmp_path: Path) -> None:
    found = detected("container_v1", tmp_path)
    assert found.usable_cores == 4.0
    assert found.container_limit_bytes == 8 * GIB
    assert found.ram_available_bytes == 8589934592 - (3221225472 - 1610612736)


def test_wsl_finds_its_card_off_the_path(tmp_path: Path) -> None:
    found = detected("wsl", tmp_path)
    assert [(gpu.name, gpu.vram_bytes) for gpu in found.gpus] == [("NVIDIA GeForce RTX 3060", 12288 * MIB)]


def test_a_raspberry_pi_is_named_by_its_board(tmp_path: Path) -> None:
    box = recorded("raspberry_pi5", tmp_path)
    found = hardware.detect(tmp_path, box)
    assert found.cpu == "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)"
    assert (found.physical_cores, found.logical_cores) == (4, 4)
    assert found.features == ("neon", "fp16", "dotprod")
    assert found.gpus == ()
    assert keys(found) == {"unknown.engine_devices"}
    assert hardware.load(box).cpu_temperature_celsius == 51.25


def test_a_mac_shares_its_memory_up_to_a_limit(tmp_path: Path) -> None:
    box = recorded("macbook_m2pro", tmp_path)
    found = hardware.detect(tmp_path, box)
    assert (found.cpu, found.physical_cores, found.usable_cores) == ("Apple M2 Pro", 10, 6.0)
    assert found.features == ("neon", "fp16", "dotprod", "i8mm", "bf16")
    assert found.ram_bytes == 16 * GIB
    available = (12345 + 298111 + 5120) * 16384
    assert found.ram_available_bytes == available
    (gpu,) = found.gpus
    assert (gpu.name, gpu.backend, gpu.unified) == ("Apple M2 Pro (16 cores)", "metal", True)
    assert gpu.vram_bytes == 16 * GIB * 2 // 3
    assert gpu.vram_free_bytes == available
    assert gpu.why is not None
    assert gpu.why.key == "why.wired_default"
    assert isinstance(box.run, Answers)
    question = "sysctl machdep.cpu.brand_string hw.memsize iogpu.wired_limit_mb"
    box.run.table[question] = Said("hw.memsize: 17179869184\niogpu.wired_limit_mb: 14000\n")
    assert hardware.detect(tmp_path, box).gpus[0].vram_bytes == 14000 * MIB


def test_an_intel_mac_with_a_card_of_its_own(tmp_path: Path) -> None:
    found = detected("mac_intel", tmp_path)
    assert (found.cpu, found.physical_cores) == ("Intel(R) Core(TM) i5-9600K CPU @ 3.70GHz", 6)
    assert {"avx", "avx2", "fma", "f16c", "sse4_2"} <= set(found.features)
    assert [(gpu.name, gpu.vram_bytes, gpu.unified) for gpu in found.gpus] == [("Radeon Pro 580X", 8 * GIB, False)]


def test_a_windows_machine_by_its_registry(tmp_path: Path) -> None:
    found = detected("windows", tmp_path)
    assert found.cpu == "Intel(R) Core(TM) i7-14700K"
    assert found.logical_cores == 28
    assert found.gpus[0].name == "NVIDIA GeForce RTX 4070 SUPER"
    assert {"unknown.physical_cores", "unknown.ram"} <= keys(found)


@pytest.mark.parametrize("name", ["garbage", "empty"])
def test_what_cannot_be_read_is_unknown_and_said_so(name: str, tmp_path: Path) -> None:
    box = recorded(name, tmp_path)
    found = hardware.detect(tmp_path, box)
    for field in ("cpu", "physical_cores", "ram_bytes", "ram_available_bytes", "container_limit_bytes"):
        assert getattr(found, field) is None, field
    assert found.features == ()
    expected = {
        "unknown.cpu",
        "unknown.physical_cores",
        "unknown.features",
        "unknown.ram",
        "unknown.ram_available",
    }
    assert expected | {"unknown.engine_devices"} <= keys(found)
    assert "unknown.probe" not in keys(found)
    now = hardware.load(box)
    assert (now.ram_bytes, now.ram_used_bytes, now.cpu_percent, now.cpu_temperature_celsius) == (None,) * 4
    if name == "garbage":
        assert "unknown.nvidia" in keys(found)
        assert [gpu.vram_bytes for gpu in found.gpus] == [None, None]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(6))
def test_no_probe_raises_whatever_a_machine_shows(name: str, seed: int, tmp_path: Path) -> None:
    box = recorded(name, tmp_path)
    chance = random.Random(seed)
    for file in sorted(tmp_path.rglob("*")):
        if file.is_file():
            file.write_bytes(spoiled(file.read_bytes(), chance))
    assert isinstance(box.run, Answers)
    for command, said in box.run.table.items():
        if said.text is not None:
            raw = spoiled(said.text.encode(), chance)
            box.run.table[command] = Said(raw.decode("utf-8", "replace"))
    for probe in PROBES:
        probe.probe(box)
        if hasattr(probe, "load"):
            probe.load(box)


def spoiled(raw: bytes, chance: random.Random) -> bytes:
    """Bytes changed, lines lost, shuffled or doubled, the end cut off, or all of it replaced by noise."""
    match chance.randrange(6):
        case 0:
            return chance.randbytes(chance.randrange(400))
        case 1:
            return raw[: chance.randrange(len(raw) + 1)]
        case 2:
            lines = raw.splitlines(keepends=True)
            chance.shuffle(lines)
            return b"".join(lines)
        case 3:
            return re.sub(rb"[0-9]+", lambda _: str(chance.choice([-1, 0, 10**30, "x"])).encode(), raw)
        case 4:
            return raw.replace(b" ", b"").replace(b":", b"", 3)
    changed = bytearray(raw)
    for _ in range(20):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def test_a_probe_that_fails_in_an_unforeseen_way_costs_only_its_own_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ModuleType("domicile.hardware.broken")

    def fail(box: Machine) -> None:
        raise KeyError("what nobody foresaw")

    vars(broken).update(probe=fail, load=fail)
    monkeypatch.setattr(hardware, "PROBES", (broken, *PROBES))
    box = recorded("vm", tmp_path)
    found = hardware.detect(tmp_path, box)
    assert found.cpu == "AMD EPYC"
    assert [each.facts["where"] for each in found.unknown] == ["broken"]
    assert hardware.load(box).ram_bytes == 24684100 * KIB


def test_a_card_only_the_driver_in_proc_knows(tmp_path: Path) -> None:
    box = recorded("empty", tmp_path)
    folder = tmp_path / "proc/driver/nvidia"
    (folder / "gpus/one").mkdir(parents=True)
    (folder / "gpus/one/information").write_text("Model: \t\t Tesla P40\nIRQ: 42\nGPU UUID: \t GPU-x\n")
    (folder / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n")
    found = nvidia.probe(box)
    assert [(gpu.name, gpu.driver, gpu.vram_bytes) for gpu in found.gpus] == [("Tesla P40", "535.183.01", None)]
    assert [each.key for each in found.unknown] == ["unknown.vram"]


NVML = """
NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 2, 0
class NVMLError(Exception): ...
class Reading:
    def __init__(self, **facts): vars(self).update(facts)
def nvmlInit(): ...
def nvmlShutdown(): ...
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(n): return n
def nvmlSystemGetDriverVersion(): return b"550.107.02"
def nvmlDeviceGetName(n): return "NVIDIA GeForce RTX 3090" if n == 0 else b"NVIDIA A100"
def nvmlDeviceGetMemoryInfo(n): return Reading(total=25769803776, free=20000000000, used=5769803776)
def nvmlDeviceGetCudaComputeCapability(n): return (8, 6)
def nvmlDeviceGetMemoryBusWidth(n):
    if n: raise NVMLError("not supported")
    return 384
def nvmlDeviceGetMaxClockInfo(n, kind): return 9751
def nvmlDeviceGetUtilizationRates(n): return Reading(gpu=55)
def nvmlDeviceGetPowerUsage(n): return 301500
def nvmlDeviceGetTemperature(n, kind): return 66
"""


def test_nvml_is_used_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pynvml.py").write_text(NVML)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    first, second = nvidia.probe(Machine()).gpus
    assert (first.name, first.driver, first.compute_capability) == (
        "NVIDIA GeForce RTX 3090",
        "550.107.02",
        "8.6",
    )
    assert (first.vram_bytes, first.vram_free_bytes) == (24 * GIB, 20_000_000_000)
    assert first.bandwidth_bytes_per_s == pytest.approx(936e9, rel=1e-3)
    assert (second.name, second.bandwidth_bytes_per_s) == ("NVIDIA A100", None)
    now = nvidia.load(Machine()).gpus[0]
    assert (now.busy_percent, now.power_watts, now.temperature_celsius) == (55.0, 301.5, 66)
    monkeypatch.delitem(sys.modules, "pynvml")


def test_nvml_without_a_driver_is_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pynvml.py").write_text(
        "class NVMLError(Exception): ...\ndef nvmlInit(): raise NVMLError('no driver')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    assert nvidia._by_nvml() == ()
    monkeypatch.delitem(sys.modules, "pynvml")


def test_a_card_only_the_engine_sees_is_shown_and_a_drawing_processor_is_not(tmp_path: Path) -> None:
    box = recorded("empty", tmp_path)
    assert isinstance(box.run, Answers)
    kind = "GGML_BACKEND_DEVICE_TYPE_GPU"
    listed = [
        {
            "name": "Vulkan0",
            "description": "Adreno (TM) 740",
            "memory_free": 1,
            "memory_total": 2,
            "type": kind,
        },
        {
            "name": "Vulkan1",
            "description": "llvmpipe (LLVM 17.0.6, 256 bits)",
            "memory_total": 9,
            "type": kind,
        },
    ]
    box.run.table["engine"] = Said("some driver talks\ndevices " + json.dumps(listed) + "\n")
    found = hardware.detect(tmp_path, box)
    assert [(gpu.name, gpu.backend, gpu.vram_bytes) for gpu in found.gpus] == [("Adreno (TM) 740", "vulkan", 2)]


def test_the_tightest_quota_between_us_and_the_top_counts(tmp_path: Path) -> None:
    box = recorded("container_v2", tmp_path)
    (tmp_path / "sys/fs/cgroup/kubepods.slice/cpu.max").write_text("100000 100000\n")
    assert cpu.cpu_quota(box) == (1.0, "/sys/fs/cgroup/kubepods.slice/cpu.max")
    (tmp_path / "sys/fs/cgroup/kubepods.slice/memory.max").write_text("1073741824\n")
    (tmp_path / "sys/fs/cgroup/kubepods.slice/memory.current").write_text("1073741824\n")
    assert memory.probe(box).fields["ram_available_bytes"] == 0


def test_affinity_counts_where_it_is_tighter(tmp_path: Path) -> None:
    box = recorded("laptop_rtx4060", tmp_path)
    (tmp_path / "proc/self/status").write_text("Name:\tpython3\nCpus_allowed_list:\t0-2,8\n")
    fields = cpu.probe(box)
    assert fields.fields["usable_cores"] == 4.0
    assert fields.why["usable_cores"].key == "why.affinity"


def test_free_disk_is_asked_where_a_folder_will_be(tmp_path: Path) -> None:
    free, trouble = hardware.disk_free(tmp_path / "not" / "made" / "yet")
    assert trouble is None
    assert free is not None
    assert free > 0
    assert hardware.disk_free(Path("bad\0name"))[0] is None


def test_commands_have_deadlines_and_their_troubles_have_names() -> None:
    python = sys.executable
    assert machine.run_command([python, "-c", "print('é')"], 10).text == "é\n".replace(
        "\n", "\r\n" if sys.platform == "win32" else "\n"
    )
    assert machine.run_command(["no-such-program-at-all"], 5) == Said(None, "missing")
    assert machine.run_command([python, "-c", "raise SystemExit(3)"], 10) == Said(None, "failed")
    began = time.monotonic()
    assert machine.run_command([python, "-c", "import time; time.sleep(60)"], 0.3) == Said(None, "too_slow")
    assert time.monotonic() - began < 10


def test_this_very_machine_is_described_without_loading_the_engine(tmp_path: Path) -> None:
    import psutil

    sys.modules.pop("xllamacpp", None)  # another test of this process may have it
    found = hardware.detect(tmp_path)
    assert found.logical_cores == psutil.cpu_count()
    assert found.ram_bytes == psutil.virtual_memory().total
    assert found.ram_available_bytes is not None
    assert 0 < found.ram_available_bytes <= found.ram_bytes
    assert found.disk_free_bytes is not None
    assert "xllamacpp" not in sys.modules
    again = hardware.refresh(found, tmp_path)
    assert (again.cpu, again.features, again.why) == (found.cpu, found.features, found.why)
    now = hardware.load()
    assert now.ram_used_bytes is not None
    assert now.cpu_percent is not None


def test_every_key_of_the_code_has_a_sentence_with_the_same_facts_in_both_languages() -> None:
    source = Path(hardware.__file__).parent
    families = ("unknown.", "calibration.", "probe.")
    words = {lang: {k: v for k, v in i18n.words(lang).items() if k.startswith(families)} for lang in i18n.LANGUAGES}
    code = "".join(file.read_text("utf-8") for file in [*source.glob("*.py"), source.parent / "engines" / "probe.py"])
    used = set(re.findall(r'"((?:unknown|why|calibration|probe)\.[a-z_]+)"', code))
    assert {key for key in used if key.startswith(families)} <= set(words["en"])
    spoken = used | {"unknown." + name for name in re.findall(r'"([a-z_]+)":? ?', code)}
    assert set(words["en"]) <= spoken
    for key, sentence in words["en"].items():
        assert set(re.findall(r"\{[^}]+\}", sentence)) == set(re.findall(r"\{[^}]+\}", words["fr"][key])), key
