"""The calculators: the numbers of the command line to the bit, errors that name argument and value."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from hypothesis import given
from hypothesis import strategies as st

from segcal.losses import LOSSES, PRIORS, Loss, Prior, verify

NEEDS_SECOND = {"bwcr"}


def problem(rng: np.random.Generator, spatial: tuple[int, ...] = (5, 6)) -> tuple[Any, Any]:
    return rng.normal(size=(2, 3, *spatial)) * 3, rng.integers(0, 3, (2, *spatial))


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in NEEDS_SECOND])
@pytest.mark.parametrize("convention", ["authors", "paper"])
def test_losses_equal_the_command_line_to_the_bit(
    name: str, convention: str, rng: np.random.Generator, tmp_path: Path, command: Command
) -> None:
    logits, labels = problem(rng)
    np.save(tmp_path / "l.npy", logits)
    np.save(tmp_path / "y.npy", labels)
    files = ["--logits", tmp_path / "l.npy", "--labels", tmp_path / "y.npy", "--grad", tmp_path / "g.npy"]
    printed = command("loss", name, *files, "--convention", convention)
    value = Loss(name, convention=convention).value(logits, labels, gradient=True)
    assert value.total == printed["value"]
    assert value.terms == printed["terms"]
    np.testing.assert_array_equal(value.gradient, np.load(tmp_path / "g.npy"), strict=True)


def test_bwcr_reads_a_second_view(rng: np.random.Generator, tmp_path: Path, command: Command) -> None:
    logits, labels = problem(rng)
    second, mask = rng.normal(size=logits.shape), rng.integers(0, 2, labels.shape)
    for name, array in [("l", logits), ("y", labels), ("s", second), ("m", mask)]:
        np.save(tmp_path / f"{name}.npy", array)
    options = [f"--{option}={tmp_path / name}.npy" for option, name in zip(["logits", "labels", "second", "mask"], "lysm", strict=True)]
    value = Loss("bwcr").value(logits, labels, second=second, mask=mask)
    assert value.total == command("loss", "bwcr", *options)["value"]


@pytest.mark.parametrize("name", PRIORS)
def test_priors_equal_the_command_line_to_the_bit(
    name: str, rng: np.random.Generator, tmp_path: Path, command: Command
) -> None:
    labels, image = rng.integers(0, 3, (2, 4, 5, 6)), rng.normal(size=(2, 1, 4, 5, 6))
    np.save(tmp_path / "y.npy", labels)
    np.save(tmp_path / "x.npy", image)
    files = ["--labels", tmp_path / "y.npy", "--image", tmp_path / "x.npy", "--out", tmp_path / "p.npy"]
    command("prior", name, *files, "--classes", "3")
    np.testing.assert_array_equal(Prior(name).value(labels, 3, image=image), np.load(tmp_path / "p.npy"), strict=True)


def test_a_state_goes_through_pickle(rng: np.random.Generator) -> None:
    loss = Loss("crac", margin=3, rho_every=1)
    for _ in range(3):
        loss.observe(*problem(rng))
        loss.end_epoch()
    copy = pickle.loads(pickle.dumps(loss))
    batch = problem(rng)
    assert copy.state == loss.state
    assert copy.state["epoch"] == [3.0]
    assert copy.value(*batch) == loss.value(*batch)


def test_gradients_follow_finite_differences(rng: np.random.Generator) -> None:
    loss, (logits, labels), direction = Loss("nacl"), problem(rng), rng.normal(size=(2, 3, 5, 6))
    step = 1e-6
    ahead, behind = (loss.value(logits + sign * step * direction, labels).total for sign in (1, -1))
    gradient = loss.value(logits, labels, gradient=True).gradient
    assert gradient is not None
    assert (ahead - behind) / (2 * step) == pytest.approx((gradient * direction).sum(), rel=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16, np.bool_, ">f8"])
def test_every_type_of_number_is_taken(dtype: Any) -> None:
    logits = np.array([[[[1]], [[0]]]]).astype(dtype)
    expected = Loss("ce").value([[[[1.0]], [[0.0]]]], [[[0]]]).total
    assert Loss("ce").value(logits, np.zeros((1, 1, 1), np.uint8)).total == expected


def test_arrays_need_not_be_contiguous(rng: np.random.Generator) -> None:
    logits, labels = problem(rng)
    expected = Loss("nacl").value(logits, labels)
    strided = np.asfortranarray(logits), np.repeat(labels, 2, axis=-1)[..., ::2]
    assert Loss("nacl").value(*strided) == expected


GOOD = np.zeros((1, 2, 3, 3))
LABELS = np.zeros((1, 3, 3), dtype=int)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Loss("nalc"), ["nalc", "nacl"]),
        (lambda: Loss("nacl", lamda=1), ["lamda", "lambda"]),
        (lambda: Loss("nacl", lambda_=-1), ["lambda", "-1"]),
        (lambda: Loss("nacl", convention="mine"), ["mine", "authors"]),
        (lambda: Loss("nacl", backend="tpu"), ["tpu", "reference"]),
        (lambda: Loss("ce").value(GOOD[0], LABELS), ["logits", "[2, 3, 3]"]),
        (lambda: Loss("ce").value(GOOD, LABELS[0]), ["labels", "[3, 3]"]),
        (lambda: Loss("ce").value(GOOD, LABELS[:, :2]), ["labels", "shape"]),
        (lambda: Loss("ce").value(GOOD, LABELS + 2), ["labels", "2", "ignore_index"]),
        (lambda: Loss("ce").value(GOOD, LABELS + 0.5), ["labels", "0.5", "whole"]),
        (lambda: Loss("ce").value(GOOD + np.nan, LABELS), ["logits", "NaN"]),
        (lambda: Loss("ce").value("text", LABELS), ["logits"]),
        (lambda: Loss("ce").value(GOOD.astype(complex), LABELS), ["logits", "complex"]),
        (lambda: Loss("nacl", prior="bilateral").value(GOOD, LABELS), ["image"]),
        (lambda: Loss("ce", class_weights=[1, 2, 3]).value(GOOD, LABELS), ["class_weights", "2"]),
        (lambda: Prior("mean").value(LABELS, 0), ["classes", "0"]),
        (lambda: Prior("mean", patch=2).value(LABELS, 2), ["patch", "2"]),
        (lambda: verify(cases=0), ["cases", "0"]),
    ],
)
def test_errors_name_argument_and_value(call: Any, words: list[str]) -> None:
    with pytest.raises(ValueError) as raised:
        call()
    for word in words:
        assert word in str(raised.value)


def test_a_state_of_another_loss_is_refused() -> None:
    loss = Loss("ce")
    with pytest.raises(ValueError, match="state"):
        loss.state = {"lambda": [1.0]}


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.floats(), max_size=3)
)


@given(st.sampled_from(sorted(LOSSES)), st.dictionaries(st.sampled_from(["lambda_", "margin", "prior", "patch", "bins", "gamma", "x"]), ANYTHING))
def test_any_parameters_give_a_loss_or_a_value_error(name: str, parameters: dict[str, Any]) -> None:
    try:
        Loss(name, **parameters)
    except ValueError:
        pass


@given(
    st.lists(st.integers(0, 3), max_size=6),
    st.lists(st.integers(0, 3), max_size=6),
    st.sampled_from(["f2", "f4", "f8", "i1", "u8", "?", ">f4", "c8", "U1", "O"]),
    st.sampled_from([0.0, -1.0, np.nan, np.inf, 1e300]),
)
def test_any_arrays_give_a_value_or_a_value_error(logits: list[int], labels: list[int], dtype: str, fill: float) -> None:
    with np.errstate(all="ignore"):
        try:
            array = np.full(logits, fill).astype(dtype)
        except (ValueError, OverflowError):
            return
    try:
        Loss("ce").value(array, np.zeros(labels))
    except ValueError:
        pass
