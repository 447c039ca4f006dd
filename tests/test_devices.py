"""Number format by probe: bfloat16 only where the processor has units for it and it is clearly faster."""

import pytest
import torch

from seesr import devices
from seesr.devices import CpuProbe, choose_dtype, probe_cpu

CPU = torch.device("cpu")


def pretend(monkeypatch: pytest.MonkeyPatch, gain: float) -> None:
    probe = CpuProbe({torch.float32: 1e9, torch.bfloat16: gain * 1e9})
    monkeypatch.setattr(devices, "probe_cpu", lambda: probe)


@pytest.mark.parametrize(("gain", "dtype"), [(1.29, torch.float32), (1.31, torch.bfloat16)])
def test_auto_takes_bfloat16_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, gain: float, dtype: torch.dtype
) -> None:
    pretend(monkeypatch, gain)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert choose_dtype("auto", CPU) == dtype
    assert choose_dtype("auto", CPU, exact=True) == torch.float32
    assert choose_dtype("fp32", CPU) == torch.float32


def test_emulated_bfloat16_is_never_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with AVX-512 but without its bfloat16 part, and a PyTorch that cannot tell."""
    for capabilities in (lambda: {"avx512_f": True, "avx512_bf16": False}, dict):
        monkeypatch.setattr(torch.cpu, "get_capabilities", capabilities)
        probe = probe_cpu.__wrapped__()
        assert set(probe.rates) == {torch.float32}
        assert probe.rates[torch.float32] > 0
        assert probe.gain == 0


def test_probe_is_made_once_a_process() -> None:
    assert probe_cpu() is probe_cpu()
    assert (torch.bfloat16 in probe_cpu().rates) == devices.has_bfloat16_units()


def test_with_amx_the_choice_does_not_hang_on_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the same command gives the same picture on a busy machine."""
    pretend(monkeypatch, 0.5)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert choose_dtype("auto", CPU) == torch.bfloat16
    assert choose_dtype("auto", CPU, exact=True) == torch.float32


def test_rates_stay_within_what_the_processor_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    most = devices.highest_rate(torch.float32)
    for found, busy in ((most / 4, False), (most / 1000, True), (most * 1000, True)):
        monkeypatch.setattr(devices, "probe_cpu", lambda found=found: CpuProbe({torch.float32: found}))
        rates = devices.measure_rates(CPU, torch.float32)
        assert most / 16 <= rates.slow <= rates.fast <= most
        assert rates.busy is busy
