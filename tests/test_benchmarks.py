from benchmarks import speed


def test_speed_edits_with_a_network(monkeypatch):
    monkeypatch.setitem(speed.CHANNELS, "colorization", (4, 8))
    row = speed.ours("colorization", 32, "bf16")
    assert row["s"] > 0 and row["GFLOP/s"] > 0
