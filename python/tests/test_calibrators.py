"""Post-hoc maps: the files and numbers of `segcal calibrate`, and scikit-learn's habits."""

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command

from segcal.calibrators import ClassTemperature, Isotonic, Platt, Temperature, VectorScaling, load

KINDS = [Temperature, ClassTemperature, VectorScaling, Platt, Isotonic]


def problem(rng: np.random.Generator, *extents: int) -> tuple[Any, Any]:
    """Over-confident logits of three classes."""
    labels = rng.integers(0, 3, extents)
    signal = np.moveaxis(np.eye(3)[labels], -1, 1)
    return (4 * (signal + rng.normal(size=signal.shape))).astype(np.float32), labels.astype(np.uint16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scores", ["logits", "probabilities"])
def test_the_file_is_the_one_of_the_command_to_the_bit(
    kind: Any, scores: str, rng: np.random.Generator, tmp_path: Path, command: Command
) -> None:
    given, labels = problem(rng, 2, 12, 13)
    if scores == "probabilities":
        given = np.exp(given) / np.exp(given).sum(1, keepdims=True)
    for name, array in [("s", given), ("y", labels)]:
        (tmp_path / name).mkdir()
        for case, part in zip("ab", array, strict=True):
            np.save(tmp_path / name / f"{case}.npy", part)
    files = [f"--{scores}", tmp_path / "s", "--labels", tmp_path / "y"]
    command("calibrate", "fit", kind._method, *files, "--out", tmp_path / "map.json")
    own = kind(scores).fit(given, labels)
    own.save(tmp_path / "own.json")
    theirs, ours = (json.loads((tmp_path / name).read_text()) for name in ("map.json", "own.json"))
    assert {key: theirs[key] for key in theirs if key != "cases"} == {key: ours[key] for key in ours if key != "cases"}
    read = load(tmp_path / "map.json")
    assert isinstance(read, kind) and read.input == scores
    np.testing.assert_array_equal(read.transform(given), own.transform(given))
    command("calibrate", "apply", tmp_path / "own.json", *files[:2], "--out", tmp_path / "applied")
    stored = next((tmp_path / "applied").rglob("a.*"))
    if stored.suffix == ".npy":
        np.testing.assert_array_equal(np.load(stored), own.transform(given)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_lowers_the_negative_log_likelihood(kind: Any, rng: np.random.Generator) -> None:
    logits, labels = problem(rng, 400)
    after = kind().fit(logits, labels).transform(logits)
    before = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    nll = [-np.log(p[np.arange(400), labels].clip(1e-12)).mean() for p in (before, after)]
    assert nll[1] < nll[0]
    np.testing.assert_allclose(after.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_go_through_pickle_and_file(kind: Any, rng: np.random.Generator, tmp_path: Path) -> None:
    fitted = kind().fit(*problem(rng, 100))
    fitted.save(tmp_path / "map.json")
    logits, _ = problem(rng, 50)
    expected = fitted.transform(logits)
    for copy in (pickle.loads(pickle.dumps(fitted)), load(tmp_path / "map.json")):
        np.testing.assert_array_equal(copy.transform(logits), expected)
        assert copy.parameters_ == fitted.parameters_
    assert not hasattr(pickle.loads(pickle.dumps(kind())), "_map")


def test_temperature_divides_the_logits(rng: np.random.Generator) -> None:
    logits, labels = problem(rng, 200)
    fitted = Temperature().fit(logits, labels)
    scaled = logits.astype(float) / fitted.parameters_["temperature"]
    expected = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    np.testing.assert_allclose(fitted.transform(logits), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learn_can_clone_maps_and_put_them_into_pipelines(kind: Any, rng: np.random.Generator) -> None:
    base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed")
    from sklearn.pipeline import make_pipeline

    fitted = kind("probabilities").fit(rng.dirichlet([1, 1, 1], 60), rng.integers(0, 3, 60))
    clone = base.clone(fitted)
    assert clone.get_params() == {"input": "probabilities"} and not hasattr(clone, "_map")
    assert clone.set_params(input="logits").input == "logits"
    logits, labels = problem(rng, 80)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline = make_pipeline(kind()).fit(logits, labels)
    np.testing.assert_array_equal(pipeline.transform(logits), kind().fit(logits, labels).transform(logits))


def test_isotonic_ranks_as_scikit_learn(rng: np.random.Generator) -> None:
    isotonic = pytest.importorskip("sklearn.isotonic", reason="scikit-learn is not installed")
    p = rng.uniform(0.05, 0.95, 300).astype(np.float32)
    labels = (rng.uniform(size=300) < p**2).astype(np.uint16)
    scores = np.stack([1 - p, p], 1)
    ours = Isotonic("probabilities").fit(scores, labels).transform(scores)[:, 1]
    theirs = isotonic.IsotonicRegression(y_min=0, y_max=1).fit(p, labels).predict(p)
    # Both classes are fitted and divided by their sum; for two classes the functions mirror each other.
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Temperature().transform(np.zeros((1, 2))), "not fitted"),
        (lambda: Temperature("odds").fit(np.zeros((1, 2)), [0]), "input.*odds"),
        (lambda: Temperature().fit(np.zeros((4, 2)), [0, 1, 0]), "labels.*\\[3\\]"),
        (lambda: Temperature().fit(np.zeros((0, 2)), []), "scores.*\\[0, 2\\]"),
        (lambda: Temperature().fit(np.zeros((1, 2)), [2]), "2"),
        (lambda: Temperature().fit(np.zeros((1, 2)), [-1]), "y.*-1"),
        (lambda: Temperature().fit(np.zeros((1, 2)), [0.5]), "y.*whole"),
        (lambda: Temperature().fit(np.full((1, 2), np.nan), [0]), "NaN"),
        (lambda: Temperature().fit(np.eye(2), [0, 1]).transform(np.zeros((1, 3))), "2 classes.*\\[1, 3\\]"),
        (lambda: Temperature().set_params(bins=3), "bins"),
    ],
)
@pytest.mark.filterwarnings("ignore:the fit did not converge")
def test_errors_name_argument_and_value(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_a_file_that_is_no_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json"):
        load(tmp_path / "other.json")
