"""Compares exported networks in ONNX Runtime (and OpenVINO, if it is there) with `segcal predict`.

    python3 -m venv VENV && VENV/bin/pip install -r tests/peers/requirements.txt
    cargo build --release -p segcal
    VENV/bin/python tests/peers/exported.py target/release/segcal

For 2-D and 3-D networks of every norm, activation and up-sampling, and for a small network of every other entry of
`segcal list networks`, it trains one epoch on a phantom, exports, predicts an image with both, and prints the largest
difference between the probabilities. Exit status 1 if one is above 4e-5: an
instance norm multiplies the rounding of a sum (1.2e-7) by up to 1 / sqrt(1e-5) = 316 where a slice is nearly constant.
"""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import onnxruntime

try:
    import openvino
except ImportError:
    openvino = None

BOUND = 4e-5
# Depth, height, width: whole tiles, so that one pass of the network sees all.
EXTENT = (8, 32, 48)
LARGE = (16, 64, 64)

DEEP = "kernels = [3, 3, 3, 3]\nstrides = [1, 2, 2, 2]"
NETWORKS = {
    "attunet": "widths = [4, 6, 8]",
    "unetpp": "encoder_widths = [4, 4, 6, 8, 10]\nencoder_blocks = [1, 2, 1, 1]\ndecoder_widths = [8, 7, 6, 5, 4]",
    "unetpp-nested": "features = [4, 4, 6, 8, 10, 5]",
    "resunet": "widths = [3, 4, 5]",
    "unet3d-meep": "widths = [3, 4, 5]",
    "transunet": "width = 4\ngroups = 2\nresnet_blocks = [2, 1, 2]\nhidden = 16\nheads = 2\nmlp = 24\nlayers = 2\n"
    "head_channels = 12\ndecoder_widths = [8, 7, 6, 4]",
    "dynunet": f"widths = [4, 5, 6, 8]\n{DEEP}\nheads = 2",
    "nnunet-crac": f"widths = [4, 5, 6, 8]\n{DEEP}",
    "nnunet": "widths = [4, 6, 8, 8]",
    "nnunet-residual": "widths = [4, 6, 8, 8]\nencoder_blocks = [1, 2, 2, 1]",
}
FLAT = {"unetpp", "transunet"}


def run(*words):
    subprocess.run(list(map(str, words)), check=True, stdout=subprocess.DEVNULL)


def config(dims, extent, network):
    size = list(extent[3 - dims:])
    kind = '"slices"' if dims == 2 else '"patches"'
    return f"epochs = 1\nbatch = 4\n[samples]\nkind = {kind}\nsize = {size}\n[network]\n{network}"


def largest_difference(segcal, folder, text):
    (folder / "c.toml").write_text(text)
    run(segcal, "-q", "train", folder / "c.toml", f"data={folder / 'cohort'}", f"out={folder / 'run'}")
    run(segcal, "-q", "export", folder / "run", "--out", folder / "exported")
    case = sorted((folder / "cohort/imagesTs").iterdir())[0]
    run(segcal, "-q", "predict", folder / "run", case, "--out", folder / "out")
    image = np.asarray(nibabel.load(case).dataobj, np.float32)
    image = ((image - image.min()) / (image.max() - image.min())).T
    expected = np.asarray(nibabel.load(next((folder / "out/probabilities").iterdir())).dataobj, np.float32).T
    # A 2-D network sees the slices as a batch.
    batch = image[:, None] if "slices" in text else image[None, None]
    model = str(folder / "exported/model.onnx")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = [session.run(["probabilities"], {"image": batch})[0]]
    if openvino:
        found.append(openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([batch])["probabilities"])
    place = (lambda p: p.swapaxes(0, 1)) if "slices" in text else (lambda p: p[0])
    return [float(np.abs(place(p) - expected).max()) for p in found]


def variants():
    """What to print, extents and network table of each."""
    kinds = [("relu", "nearest"), ("silu", "linear"), ("gelu", "transposed"), ("leaky-relu", "transposed")]
    for dims, norm, (activation, upsample) in itertools.product([2, 3], ["none", "instance", "batch"], kinds):
        network = f'levels = 3\nbase = 4\nnorm = "{norm}"\nactivation = "{activation}"\nupsample = "{upsample}"\n'
        yield f"{dims}-D {norm:9} {activation:11} {upsample:11}", dims, EXTENT, network
    for name, keys in NETWORKS.items():
        for dims in [2] if name in FLAT else [2, 3]:
            yield f"{dims}-D {name}", dims, LARGE, f'name = "{name}"\n{keys}\n'


def main(segcal):
    worst = 0.0
    for title, dims, extent, network in variants():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            size = ",".join(map(str, extent))
            run(segcal, "-q", "phantom", folder / "cohort", "--train", 2, "--val", 1, "--test", 1, "--size", size)
            found = largest_difference(segcal, folder, config(dims, extent, network))
        worst = max(worst, *found)
        print(title, *(f"{x:.2e}" for x in found), flush=True)
    print(f"largest {worst:.2e}, bound {BOUND:.0e}")
    return int(worst > BOUND)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
