"""Divides the labelled cases of a folder of images and labels into train, validate and test parts, stratified.

    python split.py SRC OUT TRAIN VAL TEST [SIZE]

Cases are sorted by the share of their voxels that is labelled and dealt in that order, so that each part holds small and large
structures alike; which case of each run goes where is drawn with seed 20261129. OUT is what `segcal prepare --as msd` makes of it.
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image


def share(path: Path) -> float:
    values = np.asarray(nibabel.load(path).dataobj) if ".nii" in path.name else np.asarray(Image.open(path))
    return float((values > 0).mean())


def deal(cases: list[str], counts: list[int]) -> list[list[str]]:
    """Each next case goes to the part that is furthest behind its share; ties are drawn."""
    draw, parts = random.Random(20261129), [[] for _ in counts]
    for place, case in enumerate(cases, 1):
        behind = [count * place / len(cases) - len(part) + draw.random() * 0.5 for count, part in zip(counts, parts)]
        parts[max(range(len(counts)), key=lambda k: (len(parts[k]) < counts[k], behind[k]))].append(case)
    return parts


def main() -> None:
    source, out, size = Path(sys.argv[1]), sys.argv[2], sys.argv[6:]
    counts = [int(count) for count in sys.argv[3:6]]
    labels = sorted(path for path in (source / "labelsTr").iterdir() if not path.name.startswith("."))
    ordered = [path.name.split(".")[0] for path in sorted(labels, key=lambda path: (share(path), path.name))]
    train, val, test = deal(ordered[: sum(counts)] if sum(counts) < len(ordered) else ordered, counts)
    with tempfile.TemporaryDirectory() as folder:
        for entry in source.iterdir():
            if entry.name != "splits.json":
                (Path(folder) / entry.name).symlink_to(entry.resolve())
        parts = {"train": sorted(train), "val": sorted(val), "test": sorted(test)}
        (Path(folder) / "splits.json").write_text(json.dumps(parts))
        command = ["segcal", "prepare", folder, out, "--as", "msd"]
        subprocess.run(command + (["--size", *size] if size else []), check=True)


if __name__ == "__main__":
    main()
