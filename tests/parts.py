#!/usr/bin/env python3
"""Parts of many cases, run in random order, some of them killed and run again, against one run of all: the same bytes.

    cargo build -p segcal --no-default-features
    python3 tests/parts.py target/debug/segcal                        # 200 cases, 7 parts, 2 killed
    python3 tests/parts.py target/debug/segcal --cases 20 --seed 3

Done for `evaluate` with `merge`, `predict` and `calibrate apply`; exit 1 if a byte differs. `cli/tests/program/parts.rs` has
the same in small.
"""

import argparse
import hashlib
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

CONFIG = 'data = "cohort"\nepochs = 1\nbatch = 4\nsamples.size = [16, 16]\nnetwork = { levels = 2, base = 4 }\n'


def run(words, expected=0):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != expected:
        sys.exit(f"{' '.join(words)}: status {done.returncode}, not {expected}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def tree(folder):
    """The SHA-256 of each file, but for the stamps, which tell of the machine."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "stamps")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def count(folder):
    return sum(1 for _ in folder.rglob("*.json")) if folder.is_dir() else 0


def killed(words, out, after):
    """Runs a part, kills it after `after` further notes or states, and says whether it was still running."""
    before = count(out)
    part = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while part.poll() is None and count(out) < before + after:
        time.sleep(0.001)
    part.send_signal(signal.SIGKILL)
    return part.wait() == -signal.SIGKILL


def in_parts(command, out, options, draw):
    """Runs the parts of a command in random order, two of them killed on the way and run again at the end."""
    parts = list(range(options.parts))
    draw.shuffle(parts)
    lost = draw.sample(parts, options.killed)
    words = lambda part: [*command, "--num-parts", str(options.parts), "--part-id", str(part)]
    for part in parts:
        if part not in lost:
            run(words(part))
            continue
        after = draw.randint(1, max(1, options.cases // options.parts // 2))
        if not killed(words(part), out, after):
            sys.exit(f"part {part} ended before it could be killed: give it more cases")
        print(f"  part {part} was killed after {after} cases")
    if command[2] == "evaluate":
        told = run([command[0], "-q", "merge", str(out), "--out", str(out)], expected=2)
        missing = "parts " + ", ".join(map(str, sorted(lost))) if len(lost) > 1 else f"part {lost[0]}"
        if missing not in told:
            sys.exit(f"merge does not name {missing}: {told}")
        print("  " + told.strip())
    draw.shuffle(lost)
    for part in lost:
        run([*words(part), "--resume"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--parts", type=int, default=7)
    parser.add_argument("--killed", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, program = random.Random(options.seed), str(options.program.resolve())
    differing = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        cohort, sizes = folder / "cohort", ["--train", "2", "--val", "1", "--size", "6,24,24"]
        run([program, "-q", "phantom", str(cohort), "--test", str(options.cases), *sizes])
        (folder / "tiny.toml").write_text(CONFIG.replace("cohort", str(cohort)))
        run([program, "-q", "train", str(folder / "tiny.toml"), f"out={folder / 'run'}"])
        scores = ["--probabilities", str(cohort / "posteriorsTs"), "--labels", str(cohort / "labelsTs")]
        run([program, "-q", "calibrate", "fit", "temperature", *scores, "--out", str(folder / "map.json")])
        commands = {
            "evaluate": ["evaluate", *scores],
            "predict": ["predict", str(folder / "run"), str(cohort / "imagesTs")],
            "calibrate apply": ["calibrate", "apply", str(folder / "map.json"), *scores],
        }
        for verb, words in commands.items():
            print(f"{verb}: {options.cases} cases in {options.parts} parts")
            whole, parts = folder / f"{verb}-whole", folder / f"{verb}-parts"
            run([program, "-q", *words, "--out", str(whole)])
            in_parts([program, "-q", *words, "--out", str(parts)], parts, options, draw)
            if verb == "evaluate":
                run([program, "-q", "merge", str(parts), "--out", str(parts)])
            one, other = tree(whole), tree(parts)
            wrong = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
            differing += len(wrong)
            print(f"  {len(one)} files, {len(wrong)} differ" + "".join(f"\n    {name}" for name in wrong[:10]))
    sys.exit(differing > 0)


if __name__ == "__main__":
    main()
