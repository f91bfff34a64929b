"""Compares `segcal evaluate` with MONAI, MedPy, torchmetrics and scikit-learn on random and nasty volumes.

    python3 -m venv VENV && VENV/bin/pip install -r tests/peers/requirements.txt
    VENV/bin/python tests/peers/compare.py target/release/segcal

Prints a table in Markdown: metric, peer, number of values compared, largest difference, tolerance, verdict. Values that
one side leaves undefined are counted, not compared. Exit status 1 if a metric that should agree does not.

Tolerances are relative (absolute below 1): 1e-12 where both count or compute in 64 bits, 2.4e-7 (two roundings) for
distances, which the CPU backend keeps in 32 bits, 2e-5 where the peer computes in 32 bits, 1e-6 for figures of
probabilities, since the volumes store them in 32.
"""

import json
import math
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import monai.metrics as monai
import nibabel
import numpy as np
import sklearn.metrics as sk
import torch
import torchmetrics.functional.classification as tm
from medpy.metric import binary as medpy
from scipy.ndimage import gaussian_filter

BINS = 15
TOLERANCE_MM = 1.0
CLASSES = 4

EXACT, ROUNDED, STORED, SINGLE = 1e-12, 2.4e-7, 1e-6, 2e-5


def blobs(rng, shape, classes):
    """A label map of smooth random shapes."""
    fields = np.stack([gaussian_filter(rng.normal(size=shape), 1.5) for _ in range(classes)])
    fields[0] += 0.5 * fields.std()
    return fields.argmax(0)


def noisy(rng, labels, strength):
    """Probabilities that favour the labels, more or less."""
    logits = rng.normal(size=(CLASSES, *labels.shape))
    logits += strength * np.eye(CLASSES)[labels].transpose(3, 0, 1, 2)
    e = np.exp(logits - logits.max(0))
    return (e / e.sum(0)).astype(np.float32)


def certain(labels):
    """Probabilities of exactly 0 and 1."""
    return np.eye(CLASSES, dtype=np.float32)[labels].transpose(3, 0, 1, 2).copy()


def cases():
    """Name, probabilities [class, x, y, z], reference [x, y, z], voxel size in mm."""
    rng = np.random.default_rng(20)
    shape = (19, 17, 11)
    for number in range(6):
        spacing = [(1, 1, 1), (0.7, 1.3, 3.0)][number % 2]
        reference = blobs(rng, shape, CLASSES)
        yield f"random_{number}", noisy(rng, reference, [0.5, 2, 4][number % 3]), reference, spacing
    anisotropic = (0.5, 2.0, 4.0)
    empty, full = np.zeros(shape, int), np.ones(shape, int)
    corner, far = empty.copy(), empty.copy()
    corner[0, 0, 0], far[-1, -1, -1] = 1, 1
    yield "far_corners", certain(corner), far, anisotropic
    shell, ball = empty.copy(), empty.copy()
    grid = np.stack(np.meshgrid(*[np.arange(n) - n // 2 for n in shape], indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    shell[(radius < 5.2) & (radius > 3.5)] = 1
    ball[radius < 4.5] = 1
    yield "shell_in_ball", certain(shell), ball, anisotropic
    yield "full_grid", certain(full), noisy(rng, full, 1).argmax(0), (1, 1, 1)
    line, lines = empty.copy(), empty.copy()
    line[:, 8, 5], lines[:, 3, 5], lines[9, :, 2] = 1, 1, 1
    yield "thin_lines", certain(line), lines, (1, 1, 1)
    stray = ball.copy()
    stray[:2, :2, :2] = 1
    yield "stray_blob", certain(stray), ball, (3.0, 3.0, 3.0)
    yield "missed", certain(empty), ball, (1, 1, 1)
    yield "invented", certain(ball), empty, (1, 1, 1)
    # Confidences on the edges of the bins, exactly 1, and equal for two classes.
    reference = blobs(rng, shape, CLASSES)
    edges = (np.arange(16) / 15)[rng.integers(8, 16, size=shape)].astype(np.float32)
    on_edges = np.zeros((CLASSES, *shape), np.float32)
    np.put_along_axis(on_edges, reference[None] * 0 + rng.integers(0, CLASSES, size=shape)[None], edges[None], 0)
    rest = (1 - on_edges.sum(0)) / (CLASSES - 1)
    yield "bin_edges", np.where(on_edges > 0, on_edges, rest).astype(np.float32), reference, (1, 1, 1)
    saturated = noisy(rng, reference, 6)
    saturated = np.where(rng.random(shape) < 0.2, certain(noisy(rng, reference, 1).argmax(0)), saturated)
    yield "saturated", saturated, reference, (1, 1, 1)
    yield "ties", np.full((CLASSES, *shape), 1 / CLASSES, np.float32), reference, (1, 1, 1)


def overlap_peers(prediction, reference):
    """Peers of the figures of one structure by voxels; both masks are boolean."""
    p, r = prediction.ravel(), reference.ravel()
    one_hot = lambda mask: torch.tensor(mask)[None, None]  # noqa: E731
    yield "dsc", "scikit-learn f1_score", EXACT, lambda: sk.f1_score(r, p, zero_division=np.nan)
    yield "dsc", "MedPy dc", EXACT, lambda: medpy.dc(prediction, reference)
    yield "dsc", "MONAI compute_dice", SINGLE, lambda: float(monai.compute_dice(one_hot(prediction), one_hot(reference)))
    yield "iou", "scikit-learn jaccard_score", EXACT, lambda: sk.jaccard_score(r, p, zero_division=0)
    yield "iou", "torchmetrics binary_jaccard_index", SINGLE, lambda: float(tm.binary_jaccard_index(torch.tensor(p.astype(int)), torch.tensor(r.astype(int))))
    yield "sensitivity", "scikit-learn recall_score", EXACT, lambda: sk.recall_score(r, p, zero_division=np.nan)
    yield "precision", "scikit-learn precision_score", EXACT, lambda: sk.precision_score(r, p, zero_division=np.nan)
    yield "volume_error", "MedPy ravd", EXACT, lambda: medpy.ravd(prediction, reference)


def surface_peers(prediction, reference, spacing):
    """Peers of the figures of one structure by surface distance."""
    one_hot = lambda mask: torch.tensor(mask)[None, None]  # noqa: E731
    pair = (one_hot(prediction), one_hot(reference))
    both = {"include_background": True, "spacing": spacing}
    yield "hd", "MedPy hd", ROUNDED, lambda: medpy.hd(prediction, reference, spacing)
    yield "hd", "MONAI hausdorff", SINGLE, lambda: float(monai.compute_hausdorff_distance(*pair, **both))
    yield "hd95_max", "MONAI hausdorff, percentile 95", SINGLE, lambda: float(monai.compute_hausdorff_distance(*pair, percentile=95, **both))
    yield "hd95_pooled", "MedPy hd95", ROUNDED, lambda: medpy.hd95(prediction, reference, spacing)
    yield "asd", "MedPy asd", ROUNDED, lambda: medpy.asd(prediction, reference, spacing)
    yield "asd", "MONAI average_surface_distance", SINGLE, lambda: float(monai.compute_average_surface_distance(*pair, **both))
    yield "assd", "MedPy assd", ROUNDED, lambda: medpy.assd(prediction, reference, spacing)
    yield "assd", "MONAI average_surface_distance, symmetric", SINGLE, lambda: float(monai.compute_average_surface_distance(*pair, symmetric=True, **both))
    yield "masd", "MedPy, mean of the two asd", ROUNDED, lambda: (medpy.asd(prediction, reference, spacing) + medpy.asd(reference, prediction, spacing)) / 2
    yield "nsd", "MONAI surface_dice", SINGLE, lambda: float(monai.compute_surface_dice(*pair, class_thresholds=[TOLERANCE_MM], **both))


def calibration_peers(p, reference):
    """Peers of the figures of all voxels; p is [n, class], reference [n]."""
    wide = p.astype(np.float64)
    wide = wide / wide.sum(1, keepdims=True)
    logits, target = torch.tensor(p), torch.tensor(reference)
    indicator = np.eye(CLASSES)[reference]
    channels = torch.tensor(p.T[None]), torch.tensor(indicator.T[None].astype(np.float32))
    labels = list(range(CLASSES))

    def torch_ece(norm):
        return lambda: float(tm.multiclass_calibration_error(logits, target, CLASSES, n_bins=BINS, norm=norm))

    def monai_classwise():
        metric = monai.CalibrationErrorMetric(num_bins=BINS, include_background=True, right=True, calibration_reduction="expected", metric_reduction="none")
        metric(*channels)
        return float(metric.aggregate().mean())

    yield "ece", "torchmetrics multiclass_calibration_error l1", SINGLE, torch_ece("l1")
    yield "mce", "torchmetrics multiclass_calibration_error max", SINGLE, torch_ece("max")
    yield "cece_mean", "MONAI CalibrationErrorMetric, expected, right", SINGLE, monai_classwise
    yield "brier", "scikit-learn brier_score_loss", STORED, lambda: sk.brier_score_loss(reference, wide, labels=labels, scale_by_half=False)
    yield "brier_foreground", "scikit-learn brier_score_loss of the foreground", STORED, lambda: sk.brier_score_loss(reference > 0, np.clip(p[:, 1:].sum(1, dtype=np.float64), 0, 1), labels=[False, True])
    yield "nll", "scikit-learn log_loss", STORED, lambda: sk.log_loss(reference, wide, labels=labels)
    yield "accuracy", "scikit-learn accuracy_score", EXACT, lambda: sk.accuracy_score(reference, p.argmax(1))


# Where a peer means something else, and why; shown in the table, not an error.
KNOWN = {
    ("ece", "torchmetrics multiclass_calibration_error l1"): "a confidence of exactly 1 falls into a bin of its own there",
    ("mce", "torchmetrics multiclass_calibration_error max"): "a confidence of exactly 1 falls into a bin of its own there",
    ("nll", "scikit-learn log_loss"): "probabilities are clipped at 2.2e-16 there, at 2^-126 here: 36.04 and 87.34 nats for a certain error",
}


class Table:
    def __init__(self):
        self.rows = {}

    def add(self, case, key, peer, tolerance, own, other):
        row = self.rows.setdefault((key, peer), {"tolerance": tolerance, "compared": 0, "largest": 0.0, "outside": [], "undefined": 0})
        if math.isfinite(own) and math.isfinite(other):
            difference = abs(own - other) / max(1.0, abs(other))
            row["compared"] += 1
            row["largest"] = max(row["largest"], difference)
            if difference > tolerance:
                row["outside"].append((case, own, other))
        elif math.isfinite(own) != math.isfinite(other):
            row["undefined"] += 1

    def failed(self):
        return [(key, row["outside"]) for key, row in self.rows.items() if row["outside"] and key not in KNOWN]

    def markdown(self):
        print("| metric | peer | compared | largest difference | tolerance | defined by one side only | agrees |")
        print("|---|---|---|---|---|---|---|")
        for (key, peer), row in self.rows.items():
            verdict = "yes"
            if row["outside"]:
                where = ", ".join(sorted({case.split(" ")[0] for case, *_ in row["outside"]}))
                verdict = f"but for {where}: {KNOWN.get((key, peer), 'NOT EXPLAINED')}"
            cells = [f"`{key}`", peer, row["compared"], f"{row['largest']:.1e}", f"{row['tolerance']:.0e}", row["undefined"], verdict]
            print("| " + " | ".join(map(str, cells)) + " |")


def number(value):
    return math.nan if value is None else float(value)


def attempt(peer):
    """The peer's value; NaN where it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(peer())
    except (RuntimeError, ValueError, ZeroDivisionError):
        return math.nan


def evaluate(program, folder, volumes):
    for name, p, reference, spacing in volumes:
        affine = np.diag([*spacing, 1.0])
        for kind, data in [("p", np.moveaxis(p, 0, -1)), ("y", reference.astype(np.uint8))]:
            (folder / kind).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(data, affine), folder / kind / f"{name}.nii.gz")
    words = ["-q", "evaluate", "--probabilities", folder / "p", "--labels", folder / "y", "--out", folder / "out", "--bins", str(BINS), "--tolerance-mm", str(TOLERANCE_MM)]
    subprocess.run([program, *words], check=True, stdout=subprocess.DEVNULL)
    return {case["case"]: case for case in json.loads((folder / "out" / "summary.json").read_text())["cases"]}


def main():
    volumes, table = list(cases()), Table()
    with tempfile.TemporaryDirectory() as folder:
        figures = evaluate(sys.argv[1], Path(folder), volumes)
    for name, p, reference, spacing in volumes:
        # The header keeps voxel sizes in 32 bits.
        spacing = tuple(float(np.float32(size)) for size in spacing)
        prediction = p.argmax(0)
        for k in range(1, CLASSES):
            own, masks = figures[name]["structures"][str(k)], (prediction == k, reference == k)
            for key, peer, tolerance, value in [*overlap_peers(*masks), *surface_peers(*masks, spacing)]:
                if masks[0].any() or masks[1].any():
                    table.add(f"{name} {k}", key, peer, tolerance, number(own[key]), attempt(value))
        own = figures[name]["regions"]["all"]
        for key, peer, tolerance, value in calibration_peers(p.reshape(CLASSES, -1).T.copy(), reference.ravel()):
            table.add(name, key, peer, tolerance, number(own[key]), attempt(value))
    table.markdown()
    for key, outside in table.failed():
        print(key, outside[:3], file=sys.stderr)
    return 1 if table.failed() else 0


if __name__ == "__main__":
    sys.exit(main())
