"""Verbs as functions give the documents and files of the command line."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

import segcal


def store(folder: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    """Probabilities and labels of two cases."""
    for name in ("p", "y"):
        (folder / name).mkdir()
    for case in ("a", "b"):
        labels = rng.integers(0, 3, (8, 9)).astype(np.uint8)
        probabilities = rng.dirichlet([1, 1, 1], (8, 9)).transpose(2, 0, 1).astype(np.float32)
        np.save(folder / "p" / f"{case}.npy", probabilities)
        np.save(folder / "y" / f"{case}.npy", labels)
    return folder / "p", folder / "y"


def test_evaluate_gives_the_summary_of_the_command(tmp_path: Path, rng: np.random.Generator, command: Command) -> None:
    probabilities, labels = store(tmp_path, rng)
    found = segcal.evaluate(probabilities=probabilities, labels=labels, out=tmp_path / "here", settings={"bins": 10})
    line = ["evaluate", "--probabilities", probabilities, "--labels", labels, "--out", tmp_path / "there", "bins=10"]
    assert found == command(*line)
    written = json.loads((tmp_path / "here" / "summary.json").read_text())
    # The file alone names the tables that it belongs to.
    assert written.pop("files")
    assert found == written


def test_a_case_that_fails_is_in_the_document(tmp_path: Path, rng: np.random.Generator) -> None:
    probabilities, labels = store(tmp_path, rng)
    np.save(probabilities / "b.npy", np.zeros((3, 4, 5), np.float32))
    heard: list[str] = []
    found = segcal.evaluate(probabilities=probabilities, labels=labels, out=tmp_path / "out", follow=heard.append)
    assert [failure["case"] for failure in found["failed"]] == ["b"]
    assert any(line.startswith("error: b") for line in heard)


def test_errors_are_those_of_the_program(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="contains no file"):
        segcal.evaluate(segmentations=tmp_path / "missing", labels=tmp_path, out=tmp_path / "out", follow=lambda _: None)
    with pytest.raises(ValueError, match="nope"):
        segcal.predict(tmp_path, tmp_path, out=tmp_path / "out", nope=True, follow=lambda _: None)
    with pytest.raises(ValueError, match=r"plan\.toml"):
        segcal.compare(tmp_path / "plan.toml", follow=lambda _: None)
    with pytest.raises(ValueError, match=r"config\.toml"):
        segcal.train(tmp_path / "config.toml", {"epochs": 1}, follow=lambda _: None)


def test_ctrl_c_stops_the_program_and_is_raised() -> None:
    script = textwrap.dedent("""
        import os, signal
        from segcal import _verbs
        # Jobs in the background of a shell inherit that it is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            # Twice at once: the second must not keep the first from the program.
            _verbs._run(["verify"], {"cases": 1000000}, lambda line: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])
        except KeyboardInterrupt:
            print("stopped")
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "stopped\n"
