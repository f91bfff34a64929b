"""Losses in PyTorch: value and gradient of the f64 calculators to 1e-5; compiled, under autocast, over epochs."""

import copy
import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: the tests of segcal.torch do not run")

from segcal.losses import LOSSES, Loss  # noqa: E402
from segcal.torch import (  # noqa: E402
    ECP,
    MEEP,
    NACL,
    SVLS,
    Calculator,
    CalibrationMetric,
    CRaC,
    Focal,
    LabelSmoothing,
    MbLS,
    MeanL1ACE,
)

torch.set_num_threads(1)

CASES: list[tuple[Any, dict[str, Any]]] = [
    (NACL, {}),
    (NACL, {"lambda_": 0.5, "penalty": "l2", "prior": "gaussian", "patch": 5, "sigma": 1.5}),
    (NACL, {"on": "softmax", "prior": "mode"}),
    *((NACL, {"prior": prior}) for prior in ("max", "min", "median")),
    (NACL, {"normalise": False, "lambda_": 0.3}),
    (MbLS, {"margin": 1}),
    (MbLS, {"margin": 1, "penalty": "l2"}),
    (MbLS, {"margin": 1, "penalty": "l2-unhinged", "lambda_": 0.3}),
    (ECP, {"lambda_": 0.4}),
    (Focal, {"gamma": 2}),
    (Focal, {"gamma": 0.5}),
    (Focal, {"schedule": "flsd53"}),
    (LabelSmoothing, {"alpha": 0.2}),
    (SVLS, {}),
    (SVLS, {"sigma": 0.7, "patch": 5}),
    (MEEP, {}),
    (MEEP, {"regularizer": "kl"}),
    (MEEP, {"base": "dice", "lambda_": 0.7}),
    (MEEP, {"base": "dice", "denominator": "squared"}),
    (MEEP, {"pixels": "all", "regularizer": "kl", "base": "dice"}),
    (MeanL1ACE, {}),
    (MeanL1ACE, {"binning": "soft", "bins": 7, "include_background": False}),
    (CRaC, {"rho": 0.7, "lambda_": 0.2}),
    (CRaC, {"normalise": False, "lambda_": 0.2}),
    (CRaC, {"penalty": "p2", "multipliers": "class", "lambda_": 0.2}),
    (CRaC, {"penalty": "p3", "multipliers": "region", "constraint": "max", "lambda_": 0.2}),
    (CRaC, {"multipliers": "scalar", "constraint": "signed", "margin": 2, "lambda_": 0.2}),
]

IDS = [f"{module.__name__}-{'-'.join(map(str, options.values()))}" for module, options in CASES]


def make(module: Any, classes: int, **options: Any) -> Any:
    return CRaC(classes, **options) if module is CRaC else module(**options)


def batch(spatial: tuple[int, ...], classes: int, seed: int) -> tuple[Any, Any]:
    """Logits, and labels in blocks, so that there are regions without a border."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (2, *(math.ceil(extent / 4) for extent in spatial)))
    for axis, extent in enumerate(spatial, start=1):
        labels = labels.repeat(4, axis).take(range(extent), axis)
    return torch.from_numpy(rng.normal(size=(2, classes, *spatial)) * 3), torch.from_numpy(labels)


def compare(module: Any, loss: Loss, logits: Any, labels: Any) -> None:
    """Value and gradient to 1e-5 of the largest gradient."""
    logits = logits.clone().requires_grad_()
    value = module(logits, labels)
    value.backward()
    expected = loss.value(logits.detach(), labels, gradient=True)
    assert expected.gradient is not None
    assert value.item() == pytest.approx(expected.total, rel=1e-5, abs=1e-7)
    scale = np.abs(expected.gradient).max()
    np.testing.assert_allclose(logits.grad.double().numpy(), expected.gradient, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize(("module", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("convention", ["authors", "paper"])
@pytest.mark.parametrize("spatial", [(9, 10), (6, 7, 8), (1, 6, 7)], ids=str)
def test_value_and_gradient_are_those_of_the_calculators(
    module: Any, options: dict[str, Any], convention: str, spatial: tuple[int, ...]
) -> None:
    logits, labels = batch(spatial, 3, seed=len(spatial))
    loss = Loss(module.name, convention=convention, **options)
    compare(make(module, 3, convention=convention, **options), loss, logits, labels)
    if spatial == (9, 10):
        compare(make(module, 3, convention=convention, **options), loss, logits.float(), labels)


@pytest.mark.parametrize("module", [NACL, MbLS, ECP, Focal, LabelSmoothing, SVLS, CRaC, MEEP, MeanL1ACE])
def test_ignored_pixels_and_class_weights_count_as_in_the_calculators(module: Any) -> None:
    logits, labels = batch((9, 10), 3, seed=5)
    labels[:, 2:4, 3:] = 255
    weighted = [{}] if module in (MEEP, MeanL1ACE) else [{}, {"class_weights": [1, 2, 0.5]}, {"reduction": "sum"}]
    for options in weighted:
        loss = Loss(module.name, ignore_index=255, **options)
        compare(make(module, 3, ignore_index=255, **options), loss, logits, labels)


@pytest.mark.parametrize("options", [{}, {"rho_every": 2}, {"multipliers": "class"}, {"constraint": "signed", "ignore_index": 255}])
@pytest.mark.parametrize("convention", ["authors", "paper"])
def test_the_outer_loop_of_crac_moves_multipliers_as_the_calculator(convention: str, options: dict[str, Any]) -> None:
    module, loss = CRaC(3, convention=convention, **options), Loss("crac", convention=convention, **options)
    for epoch in range(5):
        for part in range(2):
            logits, labels = batch((9, 10), 3, seed=10 * epoch + part)
            if "ignore_index" in options:
                labels[:, 0] = 255
            module.observe(logits, labels)
            loss.observe(logits, labels)
        module.end_epoch()
        loss.end_epoch()
        state = loss.state
        np.testing.assert_allclose(module.multipliers[0].numpy(), np.broadcast_to(state["lambda"], module.multipliers[0].shape), rtol=1e-5)
        np.testing.assert_allclose(module.multipliers[1].numpy(), np.broadcast_to(state["rho"], module.multipliers[1].shape), rtol=1e-5)
        compare(module, loss, logits, labels)


def test_multipliers_are_in_the_checkpoint() -> None:
    module = CRaC(3, rho_every=1)
    for seed in range(2):
        module.observe(*batch((9, 10), 3, seed))
        module.end_epoch()
    other = CRaC(3, rho_every=1)
    other.load_state_dict(copy.deepcopy(module.state_dict()))
    for each in (module, other):
        each.observe(*batch((9, 10), 3, 7))
        each.end_epoch()
    assert torch.equal(module.multipliers, other.multipliers)
    assert not torch.equal(module.multipliers, CRaC(3).multipliers)


@pytest.mark.parametrize("module", [NACL, MbLS, ECP, Focal, LabelSmoothing, SVLS, CRaC, MEEP, MeanL1ACE])
def test_half_precision_logits_are_computed_in_single(module: Any) -> None:
    logits, labels = batch((9, 10), 3, seed=3)
    half = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = make(module, 3)(half, labels)
    value.backward()
    assert value.dtype == torch.float32 and half.grad.dtype == torch.bfloat16
    expected = Loss(module.name).value(half.detach().float(), labels).total
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("module", [NACL, MbLS, ECP, Focal, LabelSmoothing, SVLS, CRaC, MEEP, MeanL1ACE])
def test_modules_are_one_graph_for_the_compiler(module: Any) -> None:
    logits, labels = batch((9, 10), 3, seed=4)
    compiled = torch.compile(make(module, 3), backend="aot_eager", fullgraph=True)
    compare(compiled, Loss(module.name), logits, labels)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "bwcr"])
def test_calculators_pass_the_gradient_on(name: str) -> None:
    logits, labels = batch((5, 6), 3, seed=1)
    compare(Calculator(name, backend="reference"), Loss(name), logits, labels)
    tracked = logits.float().requires_grad_()
    (3 * Calculator(name)(tracked, labels)).backward()
    expected = Loss(name).value(tracked.detach(), labels, gradient=True).gradient
    assert expected is not None
    np.testing.assert_allclose(tracked.grad.numpy() / 3, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_calculators_keep_their_state_in_the_checkpoint() -> None:
    module = Calculator("crac")
    module.observe(*batch((9, 10), 3, 0))
    module.end_epoch()
    other = Calculator("crac")
    other.load_state_dict(module.state_dict())
    assert other.loss.state == module.loss.state


def test_tensors_on_a_device_are_refused_with_what_to_call() -> None:
    with pytest.raises(ValueError, match=r"logits: the tensor is on meta.*cpu"):
        Loss("ce").value(torch.zeros(1, 2, 3, 3, device="meta"), torch.zeros(1, 3, 3))
    with pytest.raises(ValueError, match="logits.*detach"):
        Loss("ce").value(torch.zeros(1, 2, 3, 3, requires_grad=True), torch.zeros(1, 3, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: NACL(prior="bilateral"), "prior.*bilateral.*image"),
        (lambda: NACL(lamda=1), "lamda.*lambda"),
        (lambda: CRaC(3, region="rounding"), "region.*rounding"),
        (lambda: CRaC(2)(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4)), "logits: 3 classes.*2"),
        (lambda: NACL()(torch.zeros(3, 4, 4), torch.zeros(4, 4)), "logits"),
        (lambda: NACL()(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4)), "labels"),
        (lambda: CalibrationMetric(3, region="union"), "region.*union"),
    ],
)
def test_errors_name_the_argument(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def slow_ece(confidence: Any, hits: Any, bins: int) -> float:
    """``sum over bins of share |accuracy - confidence|``, bins ``(l, u]`` with 0 in the first."""
    error = 0.0
    for number in range(bins):
        low, high = np.float32(number / bins), np.float32((number + 1) / bins)
        inside = ((confidence > low) | (number == 0)) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(hits[inside].mean() - confidence[inside].astype(float).mean())
    return error


@pytest.mark.parametrize("region", ["all", "foreground"])
def test_the_metric_equals_plain_loops_and_merges_to_the_same_bits(region: str) -> None:
    parts = [batch((30, 40), 3, seed) for seed in range(4)]
    metric, backwards = CalibrationMetric(3, region=region), CalibrationMetric(3, region=region)
    for logits, labels in parts:
        metric.update(logits, labels)
    for logits, labels in reversed(parts):
        backwards.update(logits.flip(2), labels.flip(1))
    found = metric.compute()
    assert found == backwards.compute()
    s = np.concatenate([logits.float().softmax(1).movedim(1, -1).reshape(-1, 3).numpy() for logits, _ in parts])
    y = np.concatenate([labels.flatten().numpy() for _, labels in parts])
    s, y = (s[y != 0], y[y != 0]) if region == "foreground" else (s, y)
    hits = s.argmax(1) == y
    assert found["ece"].item() == pytest.approx(slow_ece(s.max(1), hits, 15), abs=1e-12)
    classwise = np.mean([slow_ece(s[:, k], y == k, 15) for k in range(3)])
    assert found["cece_mean"].item() == pytest.approx(classwise, abs=1e-12)
    assert found["accuracy"].item() == hits.mean()


def test_a_metric_that_saw_nothing_is_nan() -> None:
    assert all(torch.isnan(value) for value in CalibrationMetric(2).compute().values())
    metric = CalibrationMetric(2)
    metric.update(*batch((4, 4), 2, 0))
    metric.reset()
    assert torch.isnan(metric.compute()["ece"])
