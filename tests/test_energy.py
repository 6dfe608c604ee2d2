"""Energy is what counters say, and nothing where there are none."""

from whet.run.energy import EnergyMeter


def counter(folder, microjoules, most=1_000_000_000):
    for zone in ("intel-rapl:0", "intel-rapl:0:0"):  # the second is counted in the first
        (folder / zone).mkdir(exist_ok=True)
        (folder / zone / "energy_uj").write_text(f"{microjoules}\n")
        (folder / zone / "max_energy_range_uj").write_text(f"{most}\n")


def test_joules_are_counted_from_reading_to_reading_and_over_the_end(tmp_path):
    counter(tmp_path, 999_000_000)
    meter = EnergyMeter(tmp_path)
    counter(tmp_path, 999_500_000)
    assert meter.joules()["CPU 0"] == 0.5
    counter(tmp_path, 1_500_000)
    assert abs(meter.joules()["CPU 0"] - 2.0) < 1e-9


def test_without_a_counter_nothing_is_said(tmp_path):
    assert [name for name in EnergyMeter(tmp_path).joules() if name.startswith("CPU")] == []
    counter(tmp_path, 5)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("")
    assert [name for name in EnergyMeter(tmp_path).joules() if name.startswith("CPU")] == []
