"""Figures of each case, the mean over its seeds, from the folder of a comparison: python collect.py RUNS cases.csv.gz.

Of a grid the chosen value alone has evaluations of the test part. Overlap and surface are means over the structures.
"""

import csv
import gzip
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

OVERLAP, REGIONS = ("dsc", "hd95_max"), ("foreground", "all", "predicted", "boundary")
CALIBRATION = ("ece", "cece_mean", "tace", "nll", "brier")
NOISY = ("noise-0.02", "noise-0.05", "temperature-noise-0.02", "temperature-noise-0.05")


def of_case(path: Path) -> dict[tuple[str, str, str], float]:
    """(case, region, metric) -> value; a figure of several structures is undefined where one of them is."""
    values = defaultdict(list)
    with path.open() as file:
        for row in csv.DictReader(file):
            region, metric = row["region"], row["metric"]
            if metric in OVERLAP or (metric in CALIBRATION and region in REGIONS):
                values[row["case"], region, metric].append(float(row["value"] or "nan"))
    return {key: float(np.mean(found)) for key, found in values.items()}


def main() -> None:
    runs, out = Path(sys.argv[1]), sys.argv[2]
    found = defaultdict(list)
    for path in sorted(runs.rglob("evaluation-*/cases.csv")):
        view = path.parent.name.removeprefix("evaluation-")
        if view == "validation" or (not view.endswith("noise-0") and view not in NOISY):
            continue
        method, dataset, network = path.relative_to(runs).parts[:3]
        for (case, region, metric), value in of_case(path).items():
            found[method, dataset, network, view, case, region, metric].append(value)
    with gzip.open(out, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "dataset", "network", "view", "case", "region", "metric", "seeds", "value"])
        for key, values in sorted(found.items()):
            writer.writerow([*key, len(values), f"{np.mean(values):.6g}"])


if __name__ == "__main__":
    main()
