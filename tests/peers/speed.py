"""Times segcal's metrics and the same metrics of public packages in turn, in one run.

    python3 -m venv VENV && VENV/bin/pip install -r tests/peers/requirements.txt
    cargo build --release --no-default-features -p segcal-tests --bin bench
    VENV/bin/python tests/peers/speed.py target/release/bench [ALTERNATIONS]

Two tasks on a grid of 192 x 192 x 160 voxels of 1 x 1 x 2 mm: every surface distance of two balls of radius 55 and 53
(HD95 is what all packages have), and ECE and classwise ECE of 4 classes over all 5.9 M voxels. The volumes are made once
and written as .npy; `bench metric` reads them, times the work alone, and prints seconds. Packages take the same arrays,
already in the form they want. Each alternation times every program once, one after the other, so that a busy machine
slows all alike. Printed is a table in Markdown: median, quartiles, and the ratio of the medians to segcal's.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

THREADS = str(os.cpu_count())

import numpy as np
import torch

warnings.filterwarnings("ignore")

SHAPE = (160, 192, 192)
SPACING = (2.0, 1.0, 1.0)
CLASSES = 4
BINS = 15


def distance_to(offset):
    """Distance of each voxel, in voxels, from a centre."""
    axes = [np.arange(n, dtype=np.float32) - n / 2 - offset for n in SHAPE]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return np.sqrt(z * z + y * y + x * x)


def volumes():
    """Two masks; probabilities [class, z, y, x] and labels."""
    masks = [distance_to(0.0) < 55.0, distance_to(3.0) < 53.0]
    distance = distance_to(0.0)
    labels = sum((distance < radius).astype(np.int64) for radius in (75, 55, 35))
    depth = np.min([np.abs(radius - distance) for radius in (75, 55, 35)], axis=0).clip(max=12)
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(CLASSES, *SHAPE)).astype(np.float32)
    np.put_along_axis(logits, labels[None], (depth + rng.normal(size=SHAPE).astype(np.float32))[None], axis=0)
    e = np.exp(logits - logits.max(0))
    # No probability rounds to exactly 1, which torchmetrics puts into a bin of its own.
    return masks, (0.999 * e / e.sum(0) + 0.001 / CLASSES).astype(np.float32), labels


def monai_hd95(masks):
    from monai.metrics import compute_hausdorff_distance

    a, b = [torch.from_numpy(mask)[None, None].float() for mask in masks]
    return lambda: compute_hausdorff_distance(a, b, include_background=True, percentile=95, spacing=SPACING).item()


def medpy_hd95(masks):
    from medpy.metric.binary import hd95

    return lambda: hd95(masks[0], masks[1], voxelspacing=SPACING)


def edt_hd95(masks):
    """The plainest fast way: crop, edges by shifts, two transforms by `edt`, percentiles by NumPy."""
    import edt

    def edges(mask):
        padded = np.pad(mask, 1)
        inner = padded[1:-1, 1:-1, 1:-1].copy()
        for axis in range(3):
            for step in (-1, 1):
                inner &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
        return mask & ~inner

    def hd95():
        both = masks[0] | masks[1]
        box = []
        for axis in range(3):
            held = np.flatnonzero(both.any(axis=tuple(other for other in range(3) if other != axis)))
            box.append(slice(held[0], held[-1] + 1))
        a, b = [edges(np.ascontiguousarray(mask[tuple(box)])) for mask in masks]
        to_b = edt.edt(~b, anisotropy=SPACING, parallel=int(THREADS))[a]
        to_a = edt.edt(~a, anisotropy=SPACING, parallel=int(THREADS))[b]
        return max(np.percentile(to_a, 95), np.percentile(to_b, 95))

    return hd95


def torchmetrics_ece(p, labels):
    """ECE of the largest probability, and the mean over classes of the binary ECE of each."""
    from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

    scores = torch.from_numpy(p).reshape(CLASSES, -1).T.contiguous()
    target = torch.from_numpy(labels).reshape(-1)

    def both():
        ece = multiclass_calibration_error(scores, target, CLASSES, n_bins=BINS, validate_args=False).item()
        classwise = [
            binary_calibration_error(scores[:, k], (target == k).long(), n_bins=BINS, validate_args=False).item()
            for k in range(CLASSES)
        ]
        return ece, sum(classwise) / CLASSES

    return both


def ours(bench, folder):
    """Runs the benchmark, which times the work alone; gives for each task the seconds and what it found."""
    command = [bench, "metric", "--volumes", folder, "--reps", "1", "--json"]
    table = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {task: (row["best_ms"] / 1e3, row["found"]) for task, row in table.items()}


def once(run):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def main(bench, alternations):
    masks, p, labels = volumes()
    with tempfile.TemporaryDirectory() as folder:
        for name, array in [("a", masks[0]), ("b", masks[1])]:
            np.save(Path(folder, f"{name}.npy"), array.astype(np.uint8))
        np.save(Path(folder, "p.npy"), p)
        np.save(Path(folder, "y.npy"), labels.astype(np.uint8))
        tasks = {
            "HD95": {
                "MONAI": monai_hd95(masks),
                "MedPy": medpy_hd95(masks),
                "edt and NumPy, cropped": edt_hd95(masks),
            },
            "ECE and classwise ECE": {"torchmetrics": torchmetrics_ece(p, labels)},
        }
        print("| task | program | seconds, median (quartiles) | times segcal's | result |\n|---|---|---|---|---|")
        for (task, peers), name in zip(tasks.items(), ["distance", "calibration"]):
            seconds, results = {"segcal": []}, {}
            for number in range(alternations + 1):
                found = {"segcal": ours(bench, folder)[name]}
                found.update({peer: once(run) for peer, run in peers.items()})
                for program, (taken, result) in found.items():
                    results[program] = result
                    # The first round warms caches and just-in-time compilers.
                    if number > 0:
                        seconds.setdefault(program, []).append(taken)
            base = statistics.median(seconds["segcal"])
            for program, taken in seconds.items():
                low, _, high = statistics.quantiles(taken, n=4)
                middle = statistics.median(taken)
                shown = np.atleast_1d(results[program]).round(6).tolist()
                ratio = f"{middle / base:.1f}"
                print(f"| {task} | {program} | {middle:.3f} ({low:.3f} to {high:.3f}) | {ratio} | {shown} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(int(THREADS))
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7)
