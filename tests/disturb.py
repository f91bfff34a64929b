#!/usr/bin/env python3
"""Verbs that are killed, run beside each other, or have little memory: what docs/reliability.md promises, at length.

    cargo build -p segcal --no-default-features
    python3 tests/disturb.py target/debug/segcal kills --count 200    # SIGKILL at random moments, then the same command
    python3 tests/disturb.py target/debug/segcal writers              # two and eight processes with one output
    python3 tests/disturb.py target/debug/segcal memory               # ulimit -v from 60 MiB to 2 GiB
    python3 tests/disturb.py target/debug/segcal cgroup               # the same by the files of a control group
    python3 tests/disturb.py target/debug/segcal large                # 512 x 512 x 600 voxels, 16 classes: 11 GB of memory

Prints what broke a promise, and a line of figures; exit 1 if anything did. `--only VERB` for one verb, `--seed N` for
other moments. The same in short stands in the tests of the program (`cli/tests/program/attacks`).
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

TINY = """data = "ph"
epochs = 2
batch = 4
[samples]
size = [16, 16]
[network]
levels = 2
base = 4
[loss]
name = "crac"
"""

PLAN = """seeds = [1]
noise = [0.0, 0.1]
[train]
data = "ph"
epochs = 2
batch = 4
[train.samples]
size = [16, 16]
[train.network]
levels = 2
base = 2
[[method]]
name = "ce"
loss = { name = "ce" }
"""

SCORES = "--probabilities ph/posteriorsTs --labels ph/labelsTs"

# Of each verb that writes: a command into OUT, and what the same command needs to go on after a kill.
VERBS = {
    "evaluate": (f"evaluate {SCORES} --out OUT", ""),
    "predict": ("predict run ph/imagesTs --out OUT", ""),
    "calibrate-fit": (f"calibrate fit vector {SCORES} --out OUT.json", ""),
    "calibrate-local": (f"calibrate fit local {SCORES} --images ph/imagesTs --epochs 1 --out OUT.safetensors", ""),
    "calibrate-apply": ("calibrate apply map.json --probabilities ph/posteriorsTs --out OUT", ""),
    "compare": ("compare plan.toml --out OUT", ""),
    "prepare": ("prepare ph OUT --as msd --split 2,1,0", ""),
    "export": ("export run --out OUT", ""),
    "merge": ("merge evaluation --out OUT", ""),
    "phantom": ("phantom OUT --train 2 --val 1 --test 2 --size 4,16,16", None),
    "train": ("train tiny.toml out=OUT", "--resume"),
    "convert": ("convert ph/posteriorsTs/CASE OUT.npz", ""),
    "prior": ("prior gaussian --labels labels.npy --classes 3 --out OUT.npy", ""),
    "network": ("network unet --image image.npy --out OUT.npy", ""),
}


class Scene:
    """A folder with a cohort, a run, a map, an evaluation and a plan."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.broken = []
        environment = os.environ | {"RUST_BACKTRACE": "0"}
        self.options = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        self.options["text"] = True
        for name, text in [("tiny.toml", TINY), ("plan.toml", PLAN)]:
            (folder / name).write_text(text)
        for name, shape in [("labels.npy", (1, 64, 64)), ("image.npy", (1, 1, 64, 64))]:
            self.array(name, shape)
        for words in [
            "phantom ph --train 2 --val 1 --test 3 --size 4,16,16",
            "train tiny.toml out=run",
            f"calibrate fit vector {SCORES} --out map.json",
            f"evaluate {SCORES} --out evaluation",
        ]:
            done = self.run(words)
            assert done.returncode == 0, done.stderr
        self.case = sorted(path.name for path in (folder / "ph/posteriorsTs").iterdir())[0]

    def array(self, name, shape):
        (self.folder / name).write_bytes(npy_header("<f4", shape) + bytes(4 * 64 * 64))

    def words(self, command, out):
        return command.replace("OUT", out).replace("CASE", self.case).split()

    def start(self, words, limit_kib=None, first="", before=()):
        limit = f"ulimit -v {limit_kib}; " if limit_kib else first
        command = [*before, "sh", "-c", f'{limit}exec "$0" -q "$@"', str(self.program), *words]
        return subprocess.Popen(command, **self.options)

    def run(self, words, limit_kib=None):
        words = words.split() if isinstance(words, str) else words
        process = self.start(words, limit_kib)
        _, stderr = process.communicate(timeout=600)
        return subprocess.CompletedProcess(words, process.returncode, None, stderr)

    def new(self):
        """The name of an output, always the same, in a new folder: whatever lies beside it is a leftover."""
        shutil.rmtree(self.folder / "o", ignore_errors=True)
        (self.folder / "o").mkdir()
        return "o/out"

    def tree(self, out):
        """Every file below the folder of an output with its bytes, without what differs by its own nature."""
        root = (self.folder / out).parent
        files = {}
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.parent.name != "stamps":
                files[str(path.relative_to(root))] = comparable(path)
        return files

    def leftovers(self, out):
        root = (self.folder / out).parent
        return [str(path) for path in root.rglob(".*") if path.name.endswith((".part", ".lock"))]

    def expect(self, what, holds, message=""):
        if not holds:
            self.broken.append(what)
            print(f"BROKEN {what}: {message}", flush=True)


def npy_header(kind, shape):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00\x76\x00" + header.encode().ljust(117) + b"\n"


def comparable(path):
    """The bytes of a file, without times."""
    if path.name == ".lock" or path.name.startswith("events.out"):
        return b""
    data = path.read_bytes()
    if path.name == "log.jsonl":
        lines = [[part for part in line.split(b",") if b"second" not in part] for line in data.splitlines()]
        data = b"\n".join(b",".join(line) for line in lines)
    return data


def chosen(only):
    return {name: verb for name, verb in VERBS.items() if only in (None, name)}


def kills(scene, options):
    """SIGKILL at random moments; the same command again gives the bytes of an undisturbed run and leaves nothing."""
    moments = random.Random(options.seed)
    verbs = {name: verb for name, verb in chosen(options.only).items() if verb[1] is not None}
    delivered, rounds = 0, -(-options.count // len(verbs))
    for name, (command, again) in verbs.items():
        whole = scene.new()
        started = time.monotonic()
        done = scene.run(scene.words(command, whole))
        seconds = time.monotonic() - started
        scene.expect(name, done.returncode == 0, done.stderr)
        wanted, killed, attempts = scene.tree(whole), 0, 0
        while killed < rounds and attempts < 4 * rounds:
            attempts += 1
            out = scene.new()
            process = scene.start(scene.words(command, out))
            time.sleep(seconds * moments.random())
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
            begun = (scene.folder / out / "config.toml").exists()
            done = scene.run(scene.words(command, out) + (again.split() if begun else []))
            what = f"{name}, kill {killed}"
            scene.expect(what, done.returncode == 0, done.stderr)
            found = scene.tree(out)
            differ = [path for path in sorted(found | wanted) if found.get(path) != wanted.get(path)]
            differ = [path for path in differ if not path.endswith(".lock")]
            scene.expect(what, not differ, f"other bytes: {differ}")
            left = [path for path in scene.leftovers(out) if not permanent(path)]
            scene.expect(what, not left, f"left over: {left}")
        delivered += killed
        print(f"{name}: {killed} kills within {seconds:.2f} s", flush=True)
    return f"{delivered} kills"


def permanent(path):
    """Locks of runs and comparisons stay: they are free when their process is gone."""
    return path.endswith("/.lock") and (pathlib.Path(path).parent / "config.toml").exists() or path.endswith("out/.lock")


def writers(scene, options):
    """Two and eight processes with one output: whoever ends with status 0 made all of it, the others are refused."""
    refused = 0
    for name, (command, _) in chosen(options.only).items():
        whole = scene.new()
        done = scene.run(scene.words(command, whole))
        scene.expect(name, done.returncode == 0, done.stderr)
        wanted = scene.tree(whole)
        for count in (2, 8):
            out = scene.new()
            processes = [scene.start(scene.words(command, out)) for _ in range(count)]
            ends = [(process.communicate()[1], process.returncode) for process in processes]
            what = f"{name}, {count} writers"
            scene.expect(what, any(status == 0 for _, status in ends), ends)
            for said, status in ends:
                scene.expect(what, status in (0, 2), said)
                scene.expect(what, status == 0 or said.count("error: ") == 1, said)
            refused += sum(status == 2 for _, status in ends)
            found = scene.tree(out)
            differ = [path for path in sorted(found | wanted) if found.get(path) != wanted.get(path)]
            differ = [path for path in differ if not path.endswith(".lock")]
            scene.expect(what, not differ, f"other bytes: {differ}")
            left = [path for path in scene.leftovers(out) if not permanent(path)]
            scene.expect(what, not left, f"left over: {left}")
            print(f"{what}: {[status for _, status in ends]}", flush=True)
    return f"{refused} refused"


# What needs more memory than the smallest limits leave.
LARGE = {
    "train": "train tiny.toml data=large out=OUT epochs=1 samples.size=[96,96] network.base=16 network.levels=4",
    "predict": "predict large-run large/imagesTs --out OUT",
    "evaluate": "evaluate --probabilities large/posteriorsTs --labels large/labelsTs --out OUT",
}


# MiB.
LIMITS = [60, 64, 72, 80, 90, 100, 112, 128, 144, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024, 1536, 2048]


def memory(scene, options):
    """Less and less memory: done, or lines that say so and status 1; never a panic, an abort or a signal."""
    return sweep(scene, options, lambda words, mib: scene.run(words, mib << 10))


def cgroup(scene, options):
    """The same where the files of a control group of version 2 say how much there is, and that the process takes some."""
    group = scene.folder / "group"
    group.mkdir()
    over = []

    def run(words, mib):
        (group / "memory.max").write_text(f"{mib << 20}\n")
        (group / "memory.current").write_text("0\n")
        first = f'mount --bind "{group}" /sys/fs/cgroup || exit 99; '
        process = scene.start(words, first=first, before=["unshare", "-rm"])
        peak = 0
        while process.poll() is None:
            used = anonymous(process.pid)
            peak = max(peak, used)
            (group / "memory.current").write_text(f"{used}\n")
            time.sleep(0.001)
        if peak > mib << 20:
            over.append(f"{words[0]} {peak >> 20} of {mib}")
        return subprocess.CompletedProcess(words, process.returncode, None, process.stderr.read())

    figures = sweep(scene, options, run)
    return f"{figures}; took more than the group has, which only a kernel would see: {over or 'none'}"


def anonymous(pid):
    """Bytes that a process has written to."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


def sweep(scene, options, run):
    for words in ["phantom large --train 2 --val 1 --test 2 --size 8,128,128", LARGE["train"].replace("OUT", "large-run")]:
        done = scene.run(words)
        assert done.returncode == 0, done.stderr
    tried = {}
    for name, command in LARGE.items():
        if options.only not in (None, name):
            continue
        line = []
        for mib in LIMITS:
            done = run(scene.words(command, scene.new()), mib)
            what = f"{name}, {mib} MiB"
            # 127: the system cannot load the program.
            loads = done.returncode != 127
            scene.expect(what, not loads or done.returncode in (0, 1), f"status {done.returncode}: {done.stderr}")
            said = [line.startswith("error: ") for line in done.stderr.splitlines()]
            scene.expect(what, all(said) and any(said) == (done.returncode == 1), done.stderr)
            scene.expect(what, "this is a bug" not in done.stderr, done.stderr)
            tried[done.returncode] = tried.get(done.returncode, 0) + 1
            line.append(f"{mib}: {done.returncode}")
        print(f"{name}: {', '.join(line)}", flush=True)
    return f"statuses {tried}"


def large(scene, options):
    """More than 2^31 values: logits of 16 classes, 0 but for those of the last class in a block, where its labels are."""
    extents, classes, block = (600, 512, 512), 16, range(100, 164)
    plane = extents[1] * extents[2]
    scores, labels = scene.folder / "scores.npy", scene.folder / "labels.npy"
    with scores.open("wb") as file:
        file.write(npy_header("<f4", (classes, *extents)))
        start = file.tell()
        for number in block:
            file.seek(start + 4 * ((classes - 1) * extents[0] + number) * plane)
            file.write(struct.pack("<f", 9.0) * plane)
        file.truncate(start + 4 * classes * extents[0] * plane)
    with labels.open("wb") as file:
        file.write(npy_header("|u1", extents))
        start = file.tell()
        file.seek(start + block[0] * plane)
        file.write(bytes([classes - 1]) * (plane * len(block)))
        file.truncate(start + extents[0] * plane)
    started = time.monotonic()
    words = f"evaluate --logits {scores.name} --labels {labels.name} --out large".split()
    process = scene.start(words)
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.01)
    seconds = time.monotonic() - started
    said = process.stderr.read()
    scene.expect("large", process.returncode == 0, said)
    if process.returncode == 0:
        case = json.loads((scene.folder / "large/summary.json").read_text())["cases"][0]
        scene.expect("large", case["structures"][str(classes - 1)]["dsc"] == 1.0, case["structures"])
        scene.expect("large", case["regions"]["foreground"]["accuracy"] == 1.0, case["regions"]["foreground"])
    values = 4 * classes * extents[0] * plane
    return f"{values} bytes of logits: peak {peak} bytes, {peak / values:.2f} times, {seconds:.0f} s"


MODES = {"kills": kills, "writers": writers, "memory": memory, "cgroup": cgroup, "large": large}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("what", choices=sorted(MODES))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(VERBS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(options.program.resolve(), pathlib.Path(folder))
        figures = MODES[options.what](scene, options)
        print(f"{options.what}: {figures}, {len(scene.broken)} broken")
        return 1 if scene.broken else 0


if __name__ == "__main__":
    sys.exit(main())
