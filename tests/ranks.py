#!/usr/bin/env python3
"""One epoch on a whole data set by one process and by 1 to 4 ranks: the same weights, hash chain and metrics.csv. Needs Open MPI.

    cargo build -p segcal --no-default-features --features mpi
    python3 tests/ranks.py target/debug/segcal ../shared/data/hippocampus

Done for cross entropy, CRaC, and cross entropy with batch norm; exit 1 if a byte differs. `cli/tests/program/mpi.rs` has the
same in small.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

CONFIG = """epochs = 1
batch = 8
samples = { kind = "patches", size = [32, 32, 32], per_volume = 1 }
network = { dims = 3, levels = 2, base = 2 }
loss.name = "ce"
"""
TRAININGS = {"ce": [], "crac": ["loss.name=crac"], "batch norm": ["network.norm=batch"]}


def train(words, out):
    begun = time.monotonic()
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run([*words, f"out={out}"], capture_output=True, text=True, env={**os.environ, **allowed})
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return state(out), time.monotonic() - begun


def state(run):
    """What must not depend on the number of ranks, and the hash of the weights alone."""
    files = [hashlib.sha256((run / name).read_bytes()).hexdigest() for name in ("best.safetensors", "last.safetensors", "metrics.csv")]
    last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])["hashes"]
    return [*files, last["chain"]], last["weights"]


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program", type=pathlib.Path, help="segcal, built with MPI")
parser.add_argument("data", type=pathlib.Path, help="data set")
parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3, 4])
options = parser.parse_args()
same = True
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    (folder / "train.toml").write_text(CONFIG)
    for name, keys in TRAININGS.items():
        words = [options.program.resolve(), "-q", "train", folder / "train.toml", f"data={options.data.resolve()}", *keys]
        (whole, weights), seconds = train([*words, "micro_batch=1"], folder / name)
        print(f"{name}, one process: weights {weights[:16]}, {seconds:.0f} s", flush=True)
        for ranks in options.ranks:
            mpirun = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)]
            (found, weights), seconds = train([*mpirun, *words, "--threads", "1"], folder / f"{name} {ranks}")
            same &= found == whole
            print(f"{name}, {ranks} ranks: weights {weights[:16]}, {seconds:.0f} s{'' if found == whole else ', NOT THE SAME'}", flush=True)
sys.exit(not same)
