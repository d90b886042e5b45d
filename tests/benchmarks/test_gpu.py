"""The GPU script: rows that fail, hang or find no time left are named, and the others run."""

from benchmarks import gpu


def test_each_row_ends_by_itself_and_results_come_as_they_are_known(tmp_path, monkeypatch, capsys):
  rows = (
    gpu.Row("good", ("timeit", "-n1", "-r1", "print('12 images/s')"), (), 60),
    gpu.Row("bad", ("unittest", "missing"), (), 60),
    gpu.Row("stuck", ("timeit", "-n1", "-r1", "import time; time.sleep(600)"), (), 1),
  )
  monkeypatch.setattr(gpu, "ROWS", rows)
  monkeypatch.setattr(gpu.sys, "argv", ["gpu", "--out", str(tmp_path / "out")])
  assert gpu.main() == 1
  text = (tmp_path / "out" / "results.md").read_text()
  assert "## good: done" in text and "12 images/s" in text
  assert "## bad: failed with exit code 1" in text and "## stuck: stopped after 1 s" in text
  monkeypatch.setattr(gpu.sys, "argv", ["gpu", "--out", str(tmp_path / "none"), "--minutes", "0"])
  assert gpu.main() == 1
  assert (tmp_path / "none" / "results.md").read_text().count("no time was left") == 3
  assert "good: done" in capsys.readouterr().out
