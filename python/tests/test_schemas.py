"""What the program writes as JSON is what its schemas say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from jsonschema import Draft202012Validator

PLAN = """
seeds = [1]
[train]
data = "cohort"
epochs = 1
batch = 4
samples.size = [16, 16]
network = { levels = 1, base = 2 }
[[method]]
name = "ce"
[[method]]
name = "nacl"
loss.name = "nacl"
"""


def problems(name: str, document: Any) -> list[str]:
    done = subprocess.run([sys.executable, "-m", "segcal", "schema", name], capture_output=True, text=True, check=True)
    schema = json.loads(done.stdout)
    Draft202012Validator.check_schema(schema)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    command("phantom", folder / "cohort", "--train", "2", "--val", "1", "--test", "3", "--size", "6,16,16")
    return folder


def evaluate(folder: Path, command: Command, *more: str) -> Any:
    cohort = folder / "cohort"
    given = ["--probabilities", cohort / "posteriorsTs", "--labels", cohort / "labelsTs"]
    return command("evaluate", *given, "--out", folder / f"evaluation{len(more)}", *more)


def test_evaluation_and_ranking(cohort: Path, command: Command) -> None:
    assert problems("evaluation", evaluate(cohort, command)) == []
    assert problems("evaluation", evaluate(cohort, command, "--empty", "worst")) == []
    for name in ("evaluation0", "evaluation2"):
        assert problems("evaluation", json.loads((cohort / name / "summary.json").read_text())) == []
    assert problems("ranking", command("rank", cohort / "evaluation0", cohort / "evaluation2")) == []


def test_maps(cohort: Path, command: Command) -> None:
    given = ["--probabilities", cohort / "cohort/posteriorsTs", "--labels", cohort / "cohort/labelsTs"]
    for method in ("temperature", "class-temperature", "vector", "platt", "isotonic"):
        path = cohort / f"{method}.json"
        command("calibrate", "fit", method, *given, "--out", path)
        assert problems("map", json.loads(path.read_text())) == []


def test_info_and_check(cohort: Path, command: Command) -> None:
    image = next((cohort / "cohort/imagesTs").glob("*.nii.gz"))
    assert problems("info", command("info", image, cohort / "cohort/labelsTs" / image.name)) == []
    assert problems("check", command("check", cohort / "cohort")) == []


def test_comparison(cohort: Path, command: Command) -> None:
    (cohort / "plan.toml").write_text(PLAN)
    line = [sys.executable, "-m", "segcal", "-q", "compare", "plan.toml", "--out", "comparison"]
    subprocess.run(line, cwd=cohort, check=True)
    assert problems("comparison", json.loads((cohort / "comparison/summary.json").read_text())) == []


def test_a_wrong_document_is_told_apart(cohort: Path, command: Command) -> None:
    summary = evaluate(cohort, command, "--bins", "10")
    del summary["mean"]
    summary["extra"] = 1
    assert len(problems("evaluation", summary)) == 2
