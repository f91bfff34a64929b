"""Metrics in memory: the numbers of the command line, plain definitions, and states that merge to the same bits."""

import multiprocessing
import pickle
import sys
import tracemalloc
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from hypothesis import given
from hypothesis import strategies as st

from segcal.metrics import METRICS, Calibration, EqualMass, Overlap, measure


def case(rng: np.random.Generator, *spatial: int, classes: int = 3) -> tuple[Any, Any]:
    p = np.moveaxis(rng.dirichlet(np.ones(classes), spatial), -1, 0).astype(np.float32)
    return np.ascontiguousarray(p), rng.integers(0, classes, spatial).astype(np.uint16)


def flat(figures: Any) -> dict[str, float]:
    """Numbers of a document, its words for NaN and infinities read back."""
    return {f"{of}/{key}": float(value) for of, own in figures.items() for key, value in own.items()}


@pytest.mark.parametrize("kind", ["probabilities", "logits", "segmentations"])
@pytest.mark.parametrize("spatial", [(12, 13), (6, 7, 8)], ids=str)
def test_measure_gives_the_numbers_of_evaluate_to_the_bit(
    kind: str, spatial: tuple[int, ...], rng: np.random.Generator, tmp_path: Path, command: Command
) -> None:
    scores, labels = case(rng, *spatial)
    if kind == "logits":
        scores = np.log(scores) * 2
    given_ = scores.argmax(0).astype(np.uint16) if kind == "segmentations" else scores
    for name, array in [("p", given_), ("y", labels)]:
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", array)
    words = ["evaluate", f"--{kind}", tmp_path / "p", "--labels", tmp_path / "y", "--out", tmp_path / "out"]
    printed = command(*words, "--bins", "10")["cases"][0]
    found = measure(given_, labels, input="labels" if kind == "segmentations" else kind, bins=10)
    for part in ("structures", "regions"):
        theirs, ours = flat(printed.get(part, {})), flat(found[part])
        assert theirs and ours or kind == "segmentations"
        for key in theirs.keys() & ours.keys():
            assert theirs[key] == ours[key] or np.isnan(theirs[key]) and np.isnan(ours[key]), key
        assert theirs.keys() <= ours.keys()


def test_definitions_in_plain_numpy(rng: np.random.Generator) -> None:
    p, y = case(rng, 20, 21)
    figures = measure(p, y)
    prediction, confidence = p.argmax(0), p.max(0).astype(float)
    for label in (1, 2):
        both = ((prediction == label) & (y == label)).sum()
        dsc = 2 * both / ((prediction == label).sum() + (y == label).sum())
        assert figures["structures"][str(label)]["dsc"] == pytest.approx(dsc, abs=1e-15)
    hits = prediction == y
    edges = np.linspace(0, 1, 16).astype(np.float32)
    number = np.digitize(p.max(0), edges[1:-1], right=True)
    ece = sum(
        abs(hits[number == b].sum() - confidence[number == b].sum()) for b in range(15) if (number == b).any()
    ) / hits.size
    assert figures["regions"]["all"]["ece"] == pytest.approx(ece, abs=1e-12)
    nll = -np.log(np.take_along_axis(p.astype(float), y[None].astype(int), 0)).mean()
    assert figures["regions"]["all"]["nll"] == pytest.approx(nll, abs=1e-9)


def test_spacing_scales_distances(rng: np.random.Generator) -> None:
    p, y = case(rng, 9, 10, 11)
    one, two = measure(p, y), measure(p, y, spacing=(2, 2, 2), tolerance=2, band=4)
    assert two["structures"]["1"]["hd"] == 2 * one["structures"]["1"]["hd"]
    assert two["regions"] == one["regions"]


def test_unions_and_ignored_voxels(rng: np.random.Generator) -> None:
    p, y = case(rng, 12, 13)
    y[:3] = 9
    figures = measure(p, y, ignore_label=9, regions={"any": [1, 2]})
    inside = y != 9
    both = ((p.argmax(0) > 0) & (y > 0))[inside].sum()
    dsc = 2 * both / ((p.argmax(0) > 0)[inside].sum() + (y > 0)[inside].sum())
    assert figures["ignored"] == 3 * 13
    assert figures["structures"]["any"]["dsc"] == pytest.approx(dsc, abs=1e-15)


def test_a_contiguous_float32_array_is_not_copied() -> None:
    p = np.full((4, 64, 64, 64), 0.25, np.float32)
    y = np.zeros((64, 64, 64), np.uint16)
    state = Calibration(4)
    tracemalloc.start()
    state.update(p[None], y[None])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < p.nbytes / 100


def test_figures_become_a_table(rng: np.random.Generator) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = measure(*case(rng, 5, 6)).to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert set(frame["metric"]) <= set(METRICS)


STATES = [Calibration, EqualMass, Overlap]


def update(kind: Any, seed: int) -> Any:
    p, y = case(np.random.default_rng(seed), 30, 40)
    state = kind(3)
    return state.update(p.argmax(0), y) if kind is Overlap else state.update(p[None], y[None])


def update_calibration(seed: int) -> Any:
    return update(Calibration, seed)


def update_equal_mass(seed: int) -> Any:
    return update(EqualMass, seed)


def update_overlap(seed: int) -> Any:
    return update(Overlap, seed)


UPDATES = {Calibration: update_calibration, EqualMass: update_equal_mass, Overlap: update_overlap}


def one_pass(kind: Any) -> Any:
    state = kind(3)
    for seed in range(6):
        state.merge(update(kind, seed))
    return state


@pytest.mark.parametrize("kind", STATES)
def test_merging_in_any_order_gives_the_same_bits(kind: Any) -> None:
    parts = [update(kind, seed) for seed in range(6)]
    expected = one_pass(kind).to_bytes()
    assert sum(parts).to_bytes() == expected
    assert sum(reversed(parts)).to_bytes() == expected
    halves = reduce(lambda a, b: a + b, parts[:3]) + reduce(lambda a, b: a + b, parts[3:])
    assert halves.to_bytes() == expected
    assert parts[0].to_bytes() == update(kind, 0).to_bytes()


def test_one_update_of_many_cases_is_as_many_updates(rng: np.random.Generator) -> None:
    cases_ = [case(rng, 8, 9) for _ in range(4)]
    p, y = np.stack([p for p, _ in cases_]), np.stack([y for _, y in cases_])
    for kind in (Calibration, EqualMass):
        apart = kind(3)
        for index in range(4):
            apart.update(p[index : index + 1], y[index : index + 1])
        assert kind(3).update(p, y) == apart


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_give_the_bits_of_one_pass(kind: Any, method: str) -> None:
    # This process has worked on its threads already: a forked one must not wait for them.
    expected = one_pass(kind).to_bytes()
    with multiprocessing.get_context(method).Pool(2) as pool:
        parts = pool.map(UPDATES[kind], range(6))
    assert sum(parts).to_bytes() == expected


@pytest.mark.parametrize("kind", STATES)
def test_joblib_gives_the_bits_of_one_pass(kind: Any) -> None:
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    parts = joblib.Parallel(n_jobs=2)(joblib.delayed(UPDATES[kind])(seed) for seed in range(6))
    assert sum(parts) == one_pass(kind)


def test_dask_gives_the_bits_of_one_pass() -> None:
    dask = pytest.importorskip("dask", reason="Dask is not installed")
    parts = dask.compute(*[dask.delayed(update_calibration)(seed) for seed in range(6)], scheduler="processes", num_workers=2)
    assert sum(parts) == one_pass(Calibration)


def test_ray_gives_the_bits_of_one_pass() -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    # Its workers do not know the folder of the tests.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    remote = ray.remote(update_calibration)
    assert sum(ray.get([remote.remote(seed) for seed in range(6)])) == one_pass(Calibration)


@pytest.mark.parametrize("kind", STATES)
def test_bytes_and_pickles_come_back(kind: Any) -> None:
    state = update(kind, 0)
    assert kind.from_bytes(state.to_bytes()) == state
    copy = pickle.loads(pickle.dumps(state))
    assert copy == state and copy.merge(update(kind, 1)) == update(kind, 0) + update(kind, 1)


@pytest.mark.parametrize("kind", STATES)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_a_state(kind: Any, data: st.DataObject) -> None:
    whole = update(kind, 0).to_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + data.draw(st.integers(0, 3)) :]
    try:
        state = kind.from_bytes(damaged)
    except ValueError:
        return
    state.compute(1) if kind is Overlap else state.compute("all")


def test_boundary_voxels_are_those_of_the_mask(rng: np.random.Generator) -> None:
    p, y = case(rng, 10, 11)
    mask = rng.integers(0, 2, y.shape).astype(bool)
    state = Calibration(3).update(p[None], y[None], boundary=mask[None])
    alone = Calibration(3).update(p[:, mask][None], y[mask][None])
    assert state.compute("boundary") == alone.compute("all")


def test_reliability_bins_make_up_the_error(rng: np.random.Generator) -> None:
    p, y = case(rng, 30, 40)
    state = Calibration(3, bins=8).update(p[None], y[None])
    bins = [bin_ for bin_ in state.reliability() if bin_.voxels]
    ece = sum(bin_.voxels * abs(bin_.accuracy - bin_.confidence) for bin_ in bins) / y.size
    assert state.compute()["ece"] == pytest.approx(ece, rel=1e-12)


P, Y = np.full((2, 3, 4), 0.5), np.zeros((3, 4), dtype=int)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: measure(P, Y[:2]), "prediction.*\\[2, 4\\].*\\[2, 3, 4\\]"),
        (lambda: measure(P, Y, spacing=[1]), "spacing.*2 numbers"),
        (lambda: measure(P, Y, spacing=[1, -1]), "-1"),
        (lambda: measure(P, Y, input="odds"), "input.*odds"),
        (lambda: measure(P, Y, bins=0), "bins: 0"),
        (lambda: measure(P, Y, tolerance=-1), "tolerance: -1"),
        (lambda: measure(P, Y, band=np.nan), "band: nan"),
        (lambda: measure(P, Y, empty="zero"), "empty.*zero"),
        (lambda: measure(P, Y, backend="tpu"), "tpu"),
        (lambda: measure(P, Y, ignore_label=-1), "ignore_label: -1"),
        (lambda: measure(P, Y, regions={"a": [-1]}), "regions: -1"),
        (lambda: measure(P, Y + 2), "2"),
        (lambda: measure(P + 5, Y), "robabilit"),
        (lambda: measure(P[0], Y[0]), "labels.*\\[4\\]"),
        (lambda: Calibration(0), "classes: 0"),
        (lambda: Calibration(2, bins=1001), "bins: 1001"),
        (lambda: Calibration(3).update(P[None], Y[None]), "2 classes.*3"),
        (lambda: Calibration(2).update(P, Y), "labels"),
        (lambda: Calibration(2).update(P[None] * np.nan, Y[None]), "NaN"),
        (lambda: Calibration(2).update(P[None], Y[None] + 7), "case 0.*7"),
        (lambda: EqualMass(2).update(P[None] * 3, Y[None]), "robabilit"),
        (lambda: EqualMass(2).compute("structure:1"), "region.*structure:1"),
        (lambda: Calibration(2).compute("edge"), "edge"),
        (lambda: Calibration(2).merge(Calibration(3)), "3 classes.*2 classes"),
        (lambda: Overlap(2).update([0, 2], [0, 1]), "2"),
        (lambda: Overlap(2).update([0, 1], [0]), "prediction.*\\[2\\].*\\[1\\]"),
        (lambda: Overlap.from_bytes(Calibration(2).to_bytes()), "bytes"),
    ],
)
def test_errors_name_argument_and_value(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_a_refused_batch_leaves_the_state_as_it_was() -> None:
    state = Calibration(2).update(P[None], Y[None])
    before = state.to_bytes()
    with pytest.raises(ValueError, match="case 1"):
        state.update(np.stack([P, P]), np.stack([Y, Y + 5]))
    assert state.to_bytes() == before
