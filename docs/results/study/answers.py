"""Every number of docs/study.md from its stored cases: python answers.py cases.csv.gz."""

import csv
import gzip
import sys
from collections import defaultdict
from itertools import combinations

import numpy as np

DRAWS, METRICS = 10_000, ("ece", "cece_mean", "tace", "nll", "brier")
REGIONS = ("foreground", "all", "predicted", "boundary")
PLAIN, SCALED = "noise-0", "temperature-noise-0"

Figures = dict[tuple[str, ...], dict[str, float]]


def read(path: str) -> Figures:
    """(method, dataset, view, region, metric) -> case -> value."""
    figures: Figures = defaultdict(dict)
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            key = (row["method"], f"{row['dataset']} {row['network']}", row["view"], row["region"], row["metric"])
            figures[key][row["case"]] = float(row["value"])
    return figures


def differences(first: dict[str, float], second: dict[str, float]) -> np.ndarray:
    """Of the cases that are defined with both."""
    values = np.array([first[case] - second[case] for case in sorted(first.keys() & second.keys())])
    return values[np.isfinite(values)]


def interval(parts: list[np.ndarray], tests: int) -> tuple[float, float, float]:
    """The mean over data sets of the mean over cases, and its percentile interval, corrected for `tests`."""
    rng, means = np.random.default_rng(0), np.zeros(DRAWS)
    for part in parts:
        counts = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), DRAWS)
        means += counts @ part / len(part) / len(parts)
    tail = 50 * 0.05 / tests
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(np.mean([part.mean() for part in parts])), float(low), float(high)


def verdict(low: float, high: float) -> str:
    return "lower" if high < 0 else "higher" if low > 0 else "-"


def named(columns: list[tuple[str, str]]) -> list[str]:
    return [" ".join(filter(None, pair)) for pair in columns]


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    print(f"\n### {title}\n")
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |" if row[0] != "---" else "|" + "|".join(row) + "|")


class Study:
    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.datasets = sorted({key[1] for key in figures})
        whole = [{key[0] for key in figures if key[1] == dataset} for dataset in self.datasets]
        # A method counts when each data set has it.
        self.methods = sorted(set.intersection(*whole) - {"ce"})

    def cases(self, method: str, dataset: str, view: str, region: str, metric: str) -> dict[str, float]:
        return self.figures.get((method, dataset, view, region, metric), {})

    def row(self, datasets: list[str], first: tuple[str, str], second: tuple[str, str], region: str, metric: str) -> tuple[float, float, float]:
        """Difference of `first` to `second`, each a method and a view."""
        parts = [
            differences(self.cases(first[0], dataset, first[1], region, metric), self.cases(second[0], dataset, second[1], region, metric))
            for dataset in datasets
        ]
        return interval(parts, max(len(self.methods), 1))

    def scopes(self) -> list[tuple[str, list[str]]]:
        alone = [(dataset, [dataset]) for dataset in self.datasets]
        return alone + ([("mean over the data sets", self.datasets)] if len(alone) > 1 else [])

    def against(self, title: str, view: str, other: str, columns: list[tuple[str, str]]) -> None:
        """A table of differences to cross entropy."""
        pairs = [(method, (method, view)) for method in self.methods]
        self.compared(title, "method", pairs, ("ce", other), columns)

    def compared(
        self, title: str, kind: str, rows: list[tuple[str, tuple[str, str]]], other: tuple[str, str], columns: list[tuple[str, str]]
    ) -> None:
        for scope, datasets in self.scopes():
            lines = []
            for name, first in rows:
                found = [self.row(datasets, first, other, *column) for column in columns]
                lines.append([name] + [f"{mean:+.4f} [{low:+.4f}, {high:+.4f}] {verdict(low, high)}" for mean, low, high in found])
            table(f"{title}: {scope}", [kind, *named(columns)], lines)

    def mean(self, method: str, dataset: str, view: str, column: tuple[str, str]) -> float:
        return float(np.nanmean(list(self.cases(method, dataset, view, *column).values())))

    def means(self, view: str) -> None:
        columns = [("", "dsc"), ("", "hd95_max"), ("foreground", "ece"), ("all", "ece"), ("predicted", "ece"), ("boundary", "ece"), ("all", "nll")]
        for dataset in self.datasets:
            rows = [[method] + [f"{self.mean(method, dataset, view, column):.4f}" for column in columns] for method in ["ce", *self.methods]]
            table(f"Means over the cases, {view}: {dataset}", ["method", *named(columns)], rows)

    def agreement(self) -> None:
        """Kendall's tau between the data sets, of the order of the methods."""
        print("\n### Agreement between data sets (Kendall's tau)\n")
        for region, metric in (("foreground", "ece"), ("all", "ece"), ("all", "nll"), ("", "dsc")):
            for a, b in combinations(self.datasets, 2):
                order = [[self.mean(method, dataset, PLAIN, (region, metric)) for method in ["ce", *self.methods]] for dataset in (a, b)]
                signs = [np.sign(x[i] - x[j]) for x in order for i, j in combinations(range(len(x)), 2)]
                half = len(signs) // 2
                print(f"- {region} {metric}, {a} and {b}: {np.dot(signs[:half], signs[half:]) / half:+.2f}")

    def maps(self) -> None:
        """Post-hoc maps of cross entropy beside cross entropy."""
        columns = [("foreground", "ece"), ("all", "ece"), ("all", "nll"), ("all", "brier"), ("", "dsc")]
        names = ("temperature", "vector", "platt", "isotonic", "local")
        self.compared("Maps on cross entropy", "map", [(name, ("ce", f"{name}-noise-0")) for name in names], ("ce", PLAIN), columns)

    def print(self) -> None:
        print(f"Methods beside ce: {', '.join(self.methods)}; intervals at 1 - 0.05 / {len(self.methods)}.")
        self.means(PLAIN)
        for region in REGIONS:
            self.against(f"1. Calibration, {region}", PLAIN, PLAIN, [(region, metric) for metric in METRICS])
        self.against("2. Segmentation", PLAIN, PLAIN, [("", "dsc"), ("", "hd95_max")])
        scaled = [("foreground", "ece"), ("all", "ece"), ("all", "nll"), ("all", "brier")]
        if ("ce", self.datasets[0], SCALED, "all", "ece") in self.figures:
            self.against("3. Both with a temperature", SCALED, SCALED, scaled)
            self.against("3. The loss alone beside CE with a temperature", PLAIN, SCALED, scaled)
        for noise in ("noise-0.02", "noise-0.05"):
            if ("ce", self.datasets[0], noise, "all", "ece") in self.figures:
                self.against(f"4. {noise}", noise, noise, [("foreground", "ece"), ("all", "ece"), ("all", "nll"), ("", "dsc")])
        if ("ce", self.datasets[0], "local-noise-0", "all", "ece") in self.figures:
            self.maps()
        self.agreement()


if __name__ == "__main__":
    Study(read(sys.argv[1])).print()
