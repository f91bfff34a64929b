#!/usr/bin/env python3
"""The SHA-256 of every output of every verb, made from small data that the program and fixed formulas give.

    cargo build -p segcal --no-default-features
    python3 tests/outputs.py target/debug/segcal            # prints `sha256  path`, sorted by path
    python3 tests/outputs.py target/debug/segcal --check    # compares with tests/outputs.sha256; exit 1 if lines differ
    python3 tests/outputs.py target/debug/segcal --update   # writes tests/outputs.sha256

All runs in one new folder (or in --keep FOLDER, which stays for looking at) with relative paths. What is printed is
stored as `printed/NAME`; the files of a folder of plots or slices have one line for each ending. The list does not
depend on the number of threads, nor on the profile of the build; but floating-point results are those of one
instruction set and one C library (the stored list: x86-64 with AVX-512, glibc). Elsewhere, make the list before a change
and compare it with that after it. What differs from run to run is taken out before hashing:

- log.jsonl, and what train prints as JSON: the keys `seconds` and `images_per_second`;
- events.out.tfevents.segcal: the clock of each record, and the checksums, which contain it;
- JSON: the working folder, where a state names its files by their full paths, and the checksums of states, which
  contain it;
- help and completions: only the names of the options are kept, so that a sentence may be improved;
- devices, and the stamps of an evaluation: not listed; they tell of the machine.
"""

import argparse
import hashlib
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib

LIST = pathlib.Path(__file__).with_name("outputs.sha256")


# Numbers and files that the program reads.


class Draw:
    """Numbers in [0, 1) with exact arithmetic: the generator of Park and Miller."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = self.state * 48271 % 2147483647
        return self.state / 2147483647

    def list(self, count, scale=1.0, shift=0.0):
        return [self.next() * scale + shift for _ in range(count)]


def write(path, content):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def npy(path, shape, values, kind="<f4"):
    code = {"<f4": "f", "<f8": "d", "<i4": "i", "|u1": "B"}[kind]
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {tuple(shape)}, }}".ljust(117) + "\n"
    write(path, b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.encode() + struct.pack(f"<{len(values)}{code}", *values))


def nifti(path, extent, values, spacing=(1.0, 2.0, 5.0)):
    """int16, `extent` along x, y, z, with an sform."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *extent, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, *spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    header[123] = 2
    struct.pack_into("<2h", header, 252, 0, 1)
    rows = [[spacing[row] if row == column else 0 for column in range(3)] + [row - 3.0] for row in range(3)]
    struct.pack_into("<12f", header, 280, *sum(rows, []))
    header[344:348] = b"n+1\0"
    write(path, bytes(header) + struct.pack(f"<{len(values)}h", *values))


def png(path, width, values):
    """Eight bits of grey."""
    rows = b"".join(b"\0" + bytes(values[start : start + width]) for start in range(0, len(values), width))

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">2I5B", width, len(values) // width, 8, 0, 0, 0, 0)
    write(path, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b""))


def scan(path, first, modulus):
    """4 x 3 x 2 voxels, numbered from `first` on."""
    nifti(path, (4, 3, 2), [(first + voxel) % modulus for voxel in range(24)])


def softmax_free(draw, classes, voxels, labels):
    """Probabilities without a transcendental function: weights, the largest mostly that of the label."""
    weights = [[draw.next() + (1.3 if labels[voxel] == k else 0.1) for voxel in range(voxels)] for k in range(classes)]
    sums = [sum(row[voxel] for row in weights) for voxel in range(voxels)]
    return [row[voxel] / sums[voxel] for row in weights for voxel in range(voxels)]


# Running the program.


class Program:
    def __init__(self, binary, folder, threads):
        self.binary, self.folder, self.threads = binary, folder, threads
        self.slow = []

    def __call__(self, name, arguments, status=0):
        """Runs a verb and keeps what it prints as printed/NAME."""
        words = arguments.split() if isinstance(arguments, str) else list(arguments)
        command = [self.binary, "-q", *words]
        if self.threads:
            command += ["--threads", str(self.threads)]
        started = time.monotonic()
        done = subprocess.run(command, cwd=self.folder, capture_output=True)
        self.slow.append((time.monotonic() - started, name))
        if done.returncode != status:
            sys.exit(f"{name}: {' '.join(command)}: exit status {done.returncode}, expected {status}\n{done.stderr.decode()}")
        write(self.folder / "printed" / name, done.stdout)
        return done.stdout

    def both(self, name, arguments, status=0):
        """As text and as JSON."""
        self(name + ".txt", arguments, status)
        return json.loads(self(name + ".json", f"{arguments} --json" if isinstance(arguments, str) else [*arguments, "--json"], status))


def lists(run):
    """What there is, and the names of all options."""
    names = {}
    for kind in ["losses", "priors", "metrics", "networks"]:
        names[kind] = run.both(f"list-{kind}", f"list {kind}")
    help_text = run("help", "--help").decode()
    (run.folder / "printed/help").unlink()
    verbs = re.findall(r"^  ([a-z]+)  ", help_text.split("Commands:")[1].split("Options:")[0], re.MULTILINE)
    for words in [[verb] for verb in verbs if verb != "help"] + [["calibrate", "fit"], ["calibrate", "apply"]]:
        options(run, "-".join(["help", *words]), [*words, "--help"])
    for shell in ["bash", "zsh", "fish"]:
        options(run, f"completions-{shell}", ["completions", shell])
    return names


def options(run, name, arguments):
    found = sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+|<[A-Z][^>]*>|\[possible values[^]]*\]", run(name, arguments).decode())))
    write(run.folder / "printed" / name, "\n".join(found) + "\n")


def calculators(run, names):
    """Losses and priors: both conventions, values, terms, gradients."""
    draw, shape = Draw(7), (2, 3, 5, 6)
    pixels = 2 * 5 * 6
    npy(run.folder / "in/logits.npy", shape, draw.list(3 * pixels, 4.0, -2.0), "<f8")
    npy(run.folder / "in/second.npy", shape, draw.list(3 * pixels, 4.0, -2.0), "<f8")
    npy(run.folder / "in/image.npy", (2, 1, 5, 6), draw.list(pixels))
    npy(run.folder / "in/labels.npy", (2, 5, 6), [int(draw.next() * 3) for _ in range(pixels)], "<i4")
    npy(run.folder / "in/mask.npy", (2, 5, 6), [int(draw.next() * 2) for _ in range(pixels)], "|u1")
    (run.folder / "calculators").mkdir()
    for convention in ["authors", "paper"]:
        for name in [row["name"] for row in names["losses"]]:
            more = "--second in/second.npy --mask in/mask.npy" if name == "bwcr" else ""
            for backend in ["reference", "cpu"]:
                out = f"{name}-{convention}-{backend}"
                run(f"loss-{out}.json", f"loss {name} --logits in/logits.npy --labels in/labels.npy --image in/image.npy {more} "
                    f"--convention {convention} --backend {backend} --grad calculators/{out}.npy --json")
        for name in [row["name"] for row in names["priors"]]:
            out = f"prior-{name}-{convention}"
            run(f"{out}.json", f"prior {name} --labels in/labels.npy --classes 3 --image in/image.npy --convention {convention} "
                f"--out calculators/{out}.npy --json")
    run("loss-nacl.txt", "loss nacl --logits in/logits.npy --labels in/labels.npy --set prior=gaussian --set lambda=0.3")
    for backend in ["reference", "cpu"]:
        run.both(f"verify-{backend}", f"verify --cases 1 --seed 3 --backend {backend}")


# Each network in a few channels, for slices of 16 x 20 pixels (TransUNet: 32 x 32).
SMALL = {
    "unet": "levels=2 base=4", "unet-authors": "levels=2 base=4", "attunet": "widths=[4,8]",
    "unetpp": "encoder_widths=[4,4,8,8,8] encoder_blocks=[1,1,1,1] decoder_widths=[8,8,4,4,4]",
    "unetpp-nested": "features=[4,4,8,8,8,4]", "resunet": "widths=[4,8]", "unet3d-meep": "widths=[4,8]",
    "transunet": "image=32 width=8 groups=2 resnet_blocks=[1,1,1] hidden=16 heads=2 mlp=32 layers=1 head_channels=16"
                 " decoder_widths=[16,8,8,4]",
    "dynunet": "widths=[4,8] kernels=[3,3] strides=[1,2]", "nnunet-crac": "widths=[4,8] kernels=[3,3] strides=[1,2]",
    "nnunet": "widths=[4,8] strides=[1,2]", "nnunet-residual": "widths=[4,8] strides=[1,2] encoder_blocks=[1,1]",
}


def small(network):
    """The keys that a network of the list needs beside its name; one that is new takes its defaults."""
    keys = [f"network.{key}" for key in SMALL.get(network, "").split()]
    size = {"unetpp": 32, "unetpp-nested": 32, "transunet": 32}.get(network)
    return [f"network.name={network}", *keys, *([f"samples.size=[{size},{size}]"] if size else [])]


def trainings(run, names):
    """Every loss, every network, slices and patches, optimisers and schedules; resuming; prediction and export."""
    sizes = "--train 3 --val 1 --test 3 --size 6,16,18 --spacing 2,1,1.5 --seed 5 --label-noise 0.02"
    run("phantom.json", f"phantom cohort {sizes} --json")
    run("phantom.txt", "phantom phantom-small --train 1 --val 1 --test 1 --size 4,8,8 --noise 0.2")
    write(run.folder / "in/tiny.toml",
          "data = 'cohort'\nepochs = 1\nbatch = 4\nsamples.size = [16, 20]\n")
    unet = small("unet")
    variants = {f"loss-{row['name']}": [f"loss.name={row['name']}", *unet] for row in names["losses"]}
    variants |= {f"network-{row['name']}": small(row["name"]) for row in names["networks"]}
    variants["patches-3d"] = ["samples.kind=patches", "samples.size=[4,8,8]", "samples.per_volume=2", *unet]
    variants["patches-2d"] = ["samples.kind=patches", "samples.size=[4,8]", "samples.axis=x", *unet]
    variants["sgd"] = ["optimiser.name=sgd", "schedule.name=polynomial", "clip_norm=0.5", "seed=9", "input.clip_percentiles=[1,99]", *unet]
    variants["paper"] = ["loss.name=nacl", "loss.convention=paper", "schedule.name=cosine", "epochs=3", *unet]
    for name, keys in variants.items():
        run(f"train-{name}.json", ["train", "in/tiny.toml", f"out=runs/{name}", *keys, "--json"])
    run("train-resumed.txt", ["train", "in/tiny.toml", "out=runs/loss-crac", "loss.name=crac", *unet, "epochs=3", "--resume"])
    run("train-reference.txt", ["train", "in/tiny.toml", "out=runs/reference", "--backend", "reference", *unet, "network.base=2"])
    for name in ["patches-3d", "patches-2d", "sgd"]:
        run(f"predict-{name}.txt", f"predict runs/{name} cohort/imagesTs/phantom_004.nii.gz --out predictions/{name}")
    run("predict-loss-nacl.json", "predict runs/loss-nacl cohort/imagesTs --out predictions/loss-nacl --json")
    run("predict-loss-ce.txt", "predict runs/loss-ce cohort/imagesTs --out predictions/loss-ce --batch 3")
    run("predict-segmentations.txt", "predict runs/paper cohort/imagesTs --out predictions/paper --no-probabilities")
    for name in ["loss-ce", "patches-3d", *(name for name in variants if name.startswith("network-"))]:
        run(f"export-{name}.json", f"export runs/{name} --out exported/{name} --json")
    run("export-own-folder.txt", "export runs/sgd")


def boxes(number, extent):
    """Labels 0, 1, 2 in boxes; structure 2 is missing in case 2."""
    d, h, w = extent
    label = lambda y, x: 0 if min(y, x) < 2 else 1 if x < 5 else 2 if number != 2 else 0
    return [label(y, x) for _ in range(d) for y in range(h) for x in range(w)]


def evaluations(run):
    """Every reader of scores, rule of empty masks and convention; resuming, shards, ranks."""
    truth = "--labels cohort/labelsTs --out evaluations"
    run("evaluate-posterior.json", f"evaluate --probabilities cohort/posteriorsTs {truth}/posterior --json")
    run("evaluate-ce.txt", f"evaluate --probabilities predictions/loss-ce/probabilities {truth}/ce")
    run("evaluate-nacl.txt", f"evaluate --probabilities predictions/loss-nacl/probabilities {truth}/nacl")
    run("evaluate-segmentations.json", f"evaluate --segmentations predictions/paper/segmentations {truth}/segmentations --json")
    run("evaluate-resumed.txt", f"evaluate --probabilities predictions/loss-ce/probabilities {truth}/ce --resume")
    arrays(run)
    given = "evaluate --probabilities in/p --labels in/y"
    for rule in ["nan", "papers", "worst", "penalise"]:
        run(f"evaluate-empty-{rule}.json", f"{given} --out evaluations/empty-{rule} --empty {rule} --json")
    run("evaluate-authors.json", f"{given} --out evaluations/authors --convention authors --json")
    write(run.folder / "in/evaluate.toml", "bins = 7\ntolerance_mm = 2.0\n[regions]\nwhole = [1, 2]\n")
    run("evaluate-config.json", f"{given} --out evaluations/config --config in/evaluate.toml band_mm=1.5 --seed 4 --json")
    run("evaluate-voxels.json", f"evaluate --probabilities cohort/posteriorsTs {truth}/voxels --voxel-units --bins 10 --json")
    run("evaluate-logits.json", "evaluate --logits in/l --labels in/y --out evaluations/logits --json")
    run("evaluate-pictures.json", "evaluate --segmentations in/pictures/s --labels in/pictures/y --out evaluations/pictures --json")
    shards(run)
    tables = "evaluations/ce evaluations/nacl evaluations/posterior"
    run.both("rank", f"rank {tables}")
    run.both("rank-ties", f"rank {tables} --ties mean --metrics dsc,nsd,brier --region all --structures 1 --replicates 99 --seed 2")


def arrays(run):
    draw, extent = Draw(11), (3, 8, 9)
    for number in range(1, 5):
        labels, (d, h, w) = boxes(number, extent), extent
        scores = softmax_free(draw, 3, d * h * w, labels)
        npy(run.folder / f"in/p/case_{number}.npy", (3, d, h, w), scores)
        npy(run.folder / f"in/l/case_{number}.npy", (3, d, h, w), [8 * score - 3 for score in scores])
        npy(run.folder / f"in/y/case_{number}.npy", (d, h, w), labels, "|u1")
    for number in range(2):
        grey = [int(draw.next() * 2) for _ in range(2 * 12 * 10)]
        png(run.folder / f"in/pictures/y/{number}.png", 12, grey[:120])
        png(run.folder / f"in/pictures/s/{number}.png", 12, grey[60:180])


def shards(run):
    """Two parts, merged, give the files of one run."""
    for part, cases in [("a", (1, 4)), ("b", (2, 3))]:
        for number in cases:
            for kind in "py":
                write(run.folder / f"in/part-{part}/{kind}/case_{number}.npy", (run.folder / f"in/{kind}/case_{number}.npy").read_bytes())
        given = f"evaluate --probabilities in/part-{part}/p --labels in/part-{part}/y"
        run(f"evaluate-part-{part}.txt", f"{given} --out evaluations/part-{part}")
    run.both("merge", "merge evaluations/part-b evaluations/part-a --out evaluations/merged")
    for name in ["cases.csv", "summary.json"]:
        one, merged = (run.folder / f"evaluations/{folder}/{name}" for folder in ["empty-nan", "merged"])
        # The checksums of the states, which hold the paths of the cases, are left out.
        if content(one, run.folder) != content(merged, run.folder):
            sys.exit(f"{merged} differs from {one}")


def calibrations(run):
    (run.folder / "maps").mkdir()
    for method in ["temperature", "class-temperature", "vector", "platt", "isotonic"]:
        run(f"calibrate-fit-{method}.json", f"calibrate fit {method} --logits in/l --labels in/y --out maps/{method}.json --json")
        run(f"calibrate-apply-{method}.json",
            f"calibrate apply maps/{method}.json --logits in/l --labels in/y --out calibrated/{method} --json")
    run("calibrate-fit-region.txt", "calibrate fit temperature --probabilities predictions/loss-ce/probabilities "
        "--labels cohort/labelsTs --region foreground --out maps/region.json")
    run("calibrate-apply-region.txt", "calibrate apply maps/region.json --probabilities predictions/loss-ce/probabilities "
        "--out calibrated/region")
    local = "--probabilities predictions/loss-ce/probabilities --labels cohort/labelsTs --images cohort/imagesTs"
    run("calibrate-fit-local.json", f"calibrate fit local {local} --epochs 2 --out maps/local.safetensors --json")
    run("calibrate-apply-local.json", f"calibrate apply maps/local.safetensors {local} --out calibrated/local --json")


def comparison(run):
    write(run.folder / "in/plan.toml", "seeds = [1, 2]\nnoise = [0.1]\n[train]\ndata = 'cohort'\nepochs = 1\nbatch = 4\n"
          "samples.size = [16, 20]\nnetwork = { levels = 2, base = 4 }\n[[method]]\nname = 'ce'\n"
          "[[method]]\nname = 'nacl'\nloss = { name = 'nacl', lambda = 0.3 }\n")
    run("compare-dry-run.txt", "compare in/plan.toml --out comparison --dry-run")
    run("compare.txt", "compare in/plan.toml --out comparison")
    run("compare.json", "compare in/plan.toml --out comparison --json")
    run.both("demo", "demo demo --epochs 1")


def published(run):
    """The layouts of `prepare`, in small."""
    src = run.folder / "in/published"
    for patient in range(1, 6):
        for frame in ["01", "12"]:
            name = src / f"acdc/training/patient{patient:03}/patient{patient:03}_frame{frame}"
            scan(f"{name}.nii", patient + int(frame), 100)
            scan(f"{name}_gt.nii", patient, 4)
    for case in ["HGG/BraTS19_A_1", "LGG/BraTS19_B_1"]:
        name = case.split("/")[1]
        for number, channel in enumerate(["t2", "flair", "t1ce", "t1"]):
            scan(src / f"brats/{case}/{name}_{channel}.nii", 10 * number, 1000)
        scan(src / f"brats/{case}/{name}_seg.nii", 0, 3)
    for number in range(3):
        scan(src / f"flare/TrainingImg/train_{number:03}_0000.nii", number, 100)
        scan(src / f"flare/TrainingMask/train_{number:03}.nii", 0, 5)
        for name in ["pre/reg_T1", "pre/FLAIR", "pre/reg_IR"]:
            scan(src / f"mrbrains/training/{number}/{name}.nii", number, 100)
        scan(src / f"mrbrains/training/{number}/segm.nii", 0, 11)
        for name in ["pre/T1", "pre/FLAIR"]:
            scan(src / f"wmh/Site/{number}/{name}.nii", number, 100)
        scan(src / f"wmh/Site/{number}/wmh.nii", 0, 3)
        scan(src / f"bids/sub-{number}/anat/sub-{number}_T1w.nii", number, 50)
        scan(src / f"bids/derivatives/manual/sub-{number}/anat/sub-{number}_dseg.nii", 0, 3)
    write(src / "bids/derivatives/manual/dseg.tsv", "index\tname\n2\tright\n1\tleft\n")
    other_formats(src)
    for recipe in ["acdc", "brats", "flare", "mrbrains", "wmh", "bids", "busi", "la", "promise"]:
        run(f"prepare-{recipe}.json", f"prepare in/published/{recipe} prepared/{recipe} --as {recipe} --split 2,0,1 --json")
    run("prepare-msd.txt", "prepare cohort prepared/msd --as msd --size 0,12,12 --seed 3")
    run.both("check", "check cohort")
    for number in (1, 2):
        scan(run.folder / f"in/broken/imagesTr/a_{number}.nii", 0, 50)
        scan(run.folder / f"in/broken/labelsTr/a_{number}.nii", 0, 2 + number)
    pairs = [{"image": f"./imagesTr/a_{number}.nii", "label": f"./labelsTr/a_{number}.nii"} for number in (1, 2)]
    write(run.folder / "in/broken/dataset.json", json.dumps({"labels": {"0": "background", "1": "a", "2": "b"}, "training": pairs}))
    run.both("check-broken", "check in/broken", status=1)


def other_formats(src):
    """PNG, NRRD and MetaImage."""
    for number in range(1, 4):
        for kind in ["benign", "malignant"]:
            name = src / f"busi/{kind}/{kind} ({number})"
            png(f"{name}.png", 2, [10, 20 + number, 30, 40])
            png(f"{name}_mask.png", 2, [255, 0, 0, 0])
        png(src / f"busi/benign/benign ({number})_mask_1.png", 2, [0, 0, 255, 0])
        head = ("NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 2 2\nspace directions: "
                "(0.625,0,0) (0,0.625,0) (0,0,1.25)\nencoding: raw\nspace origin: (0,0,0)\n\n").encode()
        write(src / f"la/Training Set/CARMA{number}/lgemri.nrrd", head + bytes(range(number, number + 8)))
        write(src / f"la/Training Set/CARMA{number}/laendo.nrrd", head + bytes([0, 255] * 4))
        for name, data in [(f"Case0{number}", range(number, number + 4)), (f"Case0{number}_segmentation", [0, 1, 1, 0])]:
            write(src / f"promise/{name}.mhd", "NDims = 3\nDimSize = 2 2 1\nElementSpacing = 0.6 0.6 3.6\nElementType = MET_UCHAR\n"
                  f"ElementDataFile = {name}.raw\n")
            write(src / f"promise/{name}.raw", bytes(data))


def descriptions(run):
    files = ["cohort/imagesTs/phantom_004.nii.gz", "cohort/posteriorsTs/phantom_004.nii.gz",
             "in/published/acdc/training/patient001/patient001_frame01_gt.nii", "in/p/case_1.npy", "in/y/case_1.npy",
             "in/pictures/y/0.png"]
    run.both("info", ["info", *files])


# Hashing.


def content(path, folder):
    """The bytes of an output without what differs from run to run."""
    data = path.read_bytes()
    if path.suffix == ".json":
        data = re.sub(rb',"sha256":"[0-9a-f]{64}"', b"", data)
        data = re.sub(rb',\s*"files": \{[^{}]*\}', b"", data)
        data = re.sub(rb',\s*"(seconds|images_per_second)": [-+.0-9e]+', b"", data)
        return data.replace(str(folder).encode(), b"FOLDER")
    if path.name == "log.jsonl":
        records = [json.loads(line) for line in data.splitlines()]
        timeless = [{key: value for key, value in record.items() if key not in ("seconds", "images_per_second")} for record in records]
        return "\n".join(json.dumps(record) for record in timeless).encode()
    if path.name == "events.out.tfevents.segcal":
        return b"\0".join(timeless_events(data))
    return data


def timeless_events(data):
    """The messages of an event file without field 1, a double, which is the clock; a clock of 0 is not stored."""
    offset = 0
    while offset < len(data):
        (size,) = struct.unpack_from("<Q", data, offset)
        message = data[offset + 12 : offset + 12 + size]
        yield message[9:] if message[:1] == b"\x09" else message
        offset += 16 + size


def entry(path, folder):
    """The line that a file belongs to."""
    name = path.relative_to(folder)
    return (name.parent / f"*{name.suffix}" if name.parent.name in ("plots", "slices") else name).as_posix()


def entries(folder):
    hashes = {}
    for path in sorted(folder.rglob("*")):
        tells = path.name != ".lock" and path.parent.name != "stamps"
        if path.is_file() and tells and path.relative_to(folder).parts[0] != "in":
            found = hashes.setdefault(entry(path, folder), hashlib.sha256())
            data = content(path, folder)
            if path.parent.name in ("plots", "slices"):
                data = f"{path.name} {len(data)}\n".encode() + data
            found.update(data)
    return {name: found.hexdigest() for name, found in sorted(hashes.items())}


def outputs(binary, folder, threads, verbose):
    run = Program(str(pathlib.Path(binary).resolve()), folder, threads)
    names = lists(run)
    calculators(run, names)
    trainings(run, names)
    evaluations(run)
    calibrations(run)
    comparison(run)
    published(run)
    descriptions(run)
    if verbose:
        for seconds, name in sorted(run.slow, reverse=True)[:10]:
            print(f"{seconds:6.1f} s  {name}", file=sys.stderr)
    return entries(folder)


def stored():
    lines = (line.split("  ", 1) for line in LIST.read_text().splitlines())
    return {name: sha for sha, name in lines}


def differences(found):
    expected = stored()
    lines = [f"changed  {name}" for name in found if name in expected and found[name] != expected[name]]
    lines += [f"new      {name}" for name in found if name not in expected]
    lines += [f"missing  {name}" for name in expected if name not in found]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--check", action="store_true", help="print the lines that differ from tests/outputs.sha256")
    parser.add_argument("--update", action="store_true", help="write tests/outputs.sha256")
    parser.add_argument("--keep", metavar="FOLDER", help="work in this new folder and leave it")
    parser.add_argument("--threads", type=int, help="threads of each command")
    parser.add_argument("-v", "--verbose", action="store_true", help="name the slowest commands")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(args.keep or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        found = outputs(args.binary, folder, args.threads, args.verbose)
    text = "".join(f"{sha}  {name}\n" for name, sha in found.items())
    if args.update:
        LIST.write_text(text)
    elif args.check:
        lines = differences(found)
        print("\n".join(lines) if lines else f"{len(found)} outputs are as in {LIST.name}")
        sys.exit(1 if lines else 0)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
