"""The examples of the docs and docstrings run."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import segcal

ROOT = Path(__file__).resolve().parents[2]

MODULES = [
    module.name
    for module in pkgutil.walk_packages(segcal.__path__, "segcal.")
    if not module.name.startswith("segcal.nnunet.trainers") and not module.name.endswith(("__main__", "_native"))
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    if name.startswith("segcal.torch"):
        pytest.importorskip("torch", reason="PyTorch is not installed: the examples of segcal.torch do not run")
    assert doctest.testmod(importlib.import_module(name)).failed == 0


PAGES = ["README.md", "docs/python.md", "docs/cluster.md"]
BLOCKS = [
    (page, block)
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
]


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_examples_of_the_pages_run(page: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "torch" in block:
        pytest.importorskip("torch", reason="PyTorch is not installed: its example does not run")
    for module in ("dask", "ray"):
        if f"import {module}\n" in block:
            pytest.importorskip(module, reason=f"{module} is not installed: its example does not run")
    if "predictions/" in block:
        pytest.skip("needs a folder of predictions; tests of the verbs run it")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, page, "exec"), {})


def test_every_page_has_an_example() -> None:
    assert {page for page, _ in BLOCKS} == set(PAGES)
