"""The tutorial runs from its first block to its last, on real data."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = os.environ.get("SEGCAL_DATA")
    if shared is None:
        pytest.skip("SEGCAL_DATA names no folder of data sets: the tutorial does not run")
    for module in ("nibabel", "matplotlib"):
        pytest.importorskip(module, reason=f"{module} is not installed: the tutorial does not run")
    (tmp_path / "hippocampus").symlink_to(Path(shared) / "data/hippocampus")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"block {number} of the tutorial", "exec"), names)
    figures, every, transform = names["figures"], names["every"], names["temperature"].transform  # type: ignore[attr-defined]
    fitted = every[::2]  # type: ignore[index]
    assert figures(fitted, transform)["nll"] <= figures(fitted, lambda scores: scores)["nll"]  # type: ignore[operator]
    assert all((tmp_path / f"report-{name}/report.html").is_file() for name in ("before", "after"))
    assert (tmp_path / "reliability.png").stat().st_size > 1000
