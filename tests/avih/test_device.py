"""The device: the argument, then the environment, then what is there; what cannot compute is refused."""

from pathlib import Path

import pytest
import torch

from avih import device
from avih.device import chosen_device, machine_name, placed
from avih.errors import UsageError

CPU = torch.device("cpu")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVIH_DEVICE", raising=False)


@without_gpu
@pytest.mark.parametrize("wanted", [None, "", "auto", "cpu"])
def test_without_a_gpu_everything_is_the_cpu(wanted: str | None) -> None:
    assert chosen_device(wanted) == CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert chosen_device("auto").type == chosen_device("cuda").type == "cuda"
    assert chosen_device("cpu") == CPU
    assert torch.cuda.get_device_name(0) in machine_name(torch.device("cuda", 0))


def test_the_environment_is_the_default_and_the_argument_goes_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AVIH_DEVICE", "abacus")
    assert chosen_device("cpu") == CPU
    with pytest.raises(UsageError, match=r"'abacus' cannot be used here \(AVIH_DEVICE says so\)"):
        chosen_device()
    monkeypatch.setenv("AVIH_DEVICE", "cpu")
    assert chosen_device() == CPU
    monkeypatch.setenv("AVIH_DEVICE", "")
    assert chosen_device() == chosen_device("auto")


@pytest.mark.parametrize("wanted", ["abacus", "meta", "cpu:0:0", "cuda:-2", "cuda:4096"])
def test_what_does_not_compute_is_refused(wanted: str) -> None:
    with pytest.raises(
        UsageError, match=f"The device '{wanted}' cannot be used here: .*Expected auto, cpu"
    ) as e:
        chosen_device(wanted)
    assert "\n" not in str(e.value)


@without_gpu
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"The device 'cuda' cannot be used here: .*use cpu"):
        chosen_device("cuda")


@without_gpu
def test_a_gpu_that_does_not_work_is_told_and_not_replaced_by_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UsageError, match="The device 'cuda' cannot be used here"):
        chosen_device("auto")


def test_a_machine_is_its_processor_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text("processor\t: 0\nmodel name\t: Abacus 9000\nprocessor\t: 1\nmodel name\t: other\n")
    monkeypatch.setattr(device, "CPU_FACTS", facts)
    assert machine_name(CPU) == f"Abacus 9000, {torch.get_num_threads()} threads"
    monkeypatch.setattr(device, "CPU_FACTS", tmp_path / "missing")
    monkeypatch.setattr(device.platform, "processor", lambda: "")
    monkeypatch.setattr(device.platform, "machine", lambda: "riscv64")
    assert machine_name(CPU).startswith("riscv64, ")


def test_a_network_that_is_elsewhere_is_copied_and_stays_where_others_rely_on_it() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    assert placed(network, "cpu") is network
    other = placed(network, torch.device("meta"))
    assert {part.device.type for part in (*other.parameters(), *other.buffers())} == {"meta"}
    assert {part.device.type for part in (*network.parameters(), *network.buffers())} == {"cpu"}
