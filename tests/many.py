#!/usr/bin/env python3
"""How long a merge of many states takes, and how much memory: states of a few phantoms under many names, in seven parts.

    cargo build --release -p segcal --no-default-features
    python3 tests/many.py target/release/segcal 1000 10000 100000
    python3 tests/many.py target/release/segcal 10000 1000000 --label-maps    # states of 2 KB, not 41

Prints seconds, CPU seconds and memory of `segcal merge OUT --out OUT` for each number of cases, and the memory that each
further case takes since the row before; exit 1 if that of the last row is more than MOST_KIB.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

PARTS = 7

# What a case may add: a name, hashes and paths, ten bytes for each metric (164 of scores of three classes), and the bins
# of the pooled ECE.
MOST_KIB = 8


def templates(program, folder, label_maps):
    cohort, out = folder / "cohort", folder / "evaluation"
    subprocess.run([program, "-q", "phantom", cohort, *"--train 1 --val 1 --test 8 --size 4,6,6".split()], check=True,
                   stdout=subprocess.DEVNULL)
    given = ["--segmentations", cohort / "labelsTs"] if label_maps else ["--probabilities", cohort / "posteriorsTs"]
    subprocess.run([program, "-q", "evaluate", *given, "--labels", cohort / "labelsTs", "--out", out], check=True,
                   stdout=subprocess.DEVNULL)
    return [path.read_text() for path in sorted((out / "states").glob("*.json"))]


def varied(figures, draw):
    """The figures of one structure or region, each a little different."""
    for name, value in figures.items():
        if isinstance(value, dict) and "measured" in value:
            value["measured"] *= draw.uniform(0.9, 1.1)
        elif isinstance(value, float):
            figures[name] = value * draw.uniform(0.9, 1.1)


def write(texts, cases, folder):
    """States and records of parts as `segcal evaluate --num-parts` leaves them."""
    draw, records = random.Random(0), [{} for _ in range(PARTS)]
    (folder / "states").mkdir(parents=True)
    (folder / "parts").mkdir()
    for number in range(cases):
        name = f"case_{number:07}"
        document = json.loads(texts[number % len(texts)])
        document.pop("sha256")
        state = document["state"]
        state["case"], state["slices"] = name, []
        for figures in [*state["structures"].values(), *state["regions"].values()]:
            varied(figures, draw)
        text = json.dumps(document, separators=(",", ":"))
        text = f'{text[:-1]},"sha256":"{hashlib.sha256(text.encode()).hexdigest()}"}}'
        shard = hashlib.sha256(name.encode()).hexdigest()[:2] + "/" if cases > 10_000 else ""
        path = folder / f"states/{shard}{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        records[number % PARTS][f"states/{shard}{name}.json"] = hashlib.sha256(text.encode()).hexdigest()
    for part, states in enumerate(records):
        record = {"schema": "segcal.part/1", "part": part, "of": PARTS, "list": "simulated", "states": states, "failed": []}
        record["plan"] = "--empty nan --convention segcal --seed 0"
        (folder / "parts" / f"{part}-of-{PARTS}.json").write_text(json.dumps(record))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("cases", type=int, nargs="+")
    parser.add_argument("--label-maps", action="store_true", help="states without scores, which are small")
    options = parser.parse_args()
    program, before, adds = options.program.resolve(), None, 0
    print("  cases  seconds  CPU seconds  CPU ms a case  MiB  KiB a further case")
    for cases in options.cases:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write(templates(program, folder, options.label_maps), cases, folder / "many")
            started = time.monotonic()
            merge = subprocess.Popen([program, "-q", "merge", folder / "many", "--out", folder / "many"],
                                     stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(merge.pid, 0)
            seconds, cpu, mib = time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
            if status:
                sys.exit(f"merge ended with {status}")
            adds = 1024 * (mib - before[1]) / (cases - before[0]) if before else 0
            print(f"{cases:7} {seconds:8.1f} {cpu:12.1f} {1000 * cpu / cases:14.2f} {mib:4.0f} {adds:8.1f}", flush=True)
            before = cases, mib
    if adds > MOST_KIB:
        sys.exit(f"a case adds {adds:.1f} KiB, more than {MOST_KIB}")


if __name__ == "__main__":
    main()
