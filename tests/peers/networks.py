"""Checks `segcal network` against packs of numbers of the public code (shared/goldens/README.md says what a pack holds).

    python tests/peers/networks.py SEGCAL FOLDER_OF_PACKS [--backend cpu --relative 1e-4]

Needs numpy. Prints the largest difference of each pack: logits in both modes, loss, gradients, running statistics, curve.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

NAMES = {
    "unet": "unet-authors",
    "unetpp_nested": "unetpp-nested",
    "resunet3d": "resunet",
    "unet3d_meep": "unet3d-meep",
    "nnunet_plain": "nnunet",
    "nnunet_residual": "nnunet-residual",
}
TYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
CODES = {np.dtype(kind): code for code, kind in TYPES.items()}


def save(path, tensors):
    header, data = {}, b""
    for name, value in tensors.items():
        raw = np.ascontiguousarray(value).tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": CODES[value.dtype], "shape": list(value.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def load(path):
    raw = Path(path).read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header, body = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    header.pop("__metadata__", None)

    def array(entry):
        begin, end = entry["data_offsets"]
        return np.frombuffer(body[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])

    return {name: array(entry) for name, entry in header.items()}


class Pack:
    def __init__(self, path, arguments, folder):
        self.pack, self.folder = np.load(path), Path(folder)
        self.config = json.loads(str(self.pack["config"]))
        name = NAMES.get(self.config["network"], self.config["network"])
        listed = subprocess.run([arguments.segcal, "list", "networks", "--json"], check=True, capture_output=True)
        entry = next(entry for entry in json.loads(listed.stdout) if entry["name"] == name)
        keys = [parameter["name"] for parameter in entry["parameters"] if parameter["name"] in self.config]
        keys += ["in_channels", "classes", "dims"]
        self.command = [arguments.segcal, "network", name, "--backend", arguments.backend, "--json"]
        for key in keys:
            value = self.config[key]
            self.command += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
        self.relative = arguments.relative
        np.save(self.folder / "x.npy", self.pack["x"])
        np.save(self.folder / "labels.npy", self.pack["labels"])
        files = self.pack.files
        self.weights = {name[6:]: self.pack[name] for name in files if name.startswith("param_")}
        buffers = [name for name in files if name.startswith("buffer_") and not name.startswith("buffer_after_")]
        self.buffers = {name[7:]: self.pack[name] for name in buffers}
        self.worst = {}

    def run(self, mode, weights):
        f = self.folder
        save(f / "w.safetensors", weights | self.buffers)
        command = [*self.command, "--weights", f / "w.safetensors", "--image", f / "x.npy", "--labels", f / "labels.npy"]
        command += ["--mode", mode, "--out", f / "y.npz", "--grads", f / "g.safetensors", "--grad-image", f / "gx.npy"]
        command += ["--statistics", f / "s.safetensors"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{self.config['name']}: {done.stderr}")
        return json.loads(done.stdout)["value"]

    def compare(self, what, found, expected, absolute=False):
        found, expected = np.asarray(found), np.asarray(expected)
        apart = float(np.abs(found - expected).max()) if found.size else 0.0
        if self.relative and not absolute:
            apart /= max(float(np.abs(expected).max()), 1e-300)
        self.worst[what] = max(self.worst.get(what, 0.0), apart)

    def check(self):
        pack, folder = self.pack, self.folder
        self.run("evaluate", self.weights)
        self.compare("y_eval", np.load(folder / "y.npz")["logits"], pack["y_eval"])
        loss = self.run("train", self.weights)
        logits = np.load(folder / "y.npz")
        self.compare("y_train", logits["logits"], pack["y_train"])
        for name in [name for name in pack.files if name.startswith("y_train_head")]:
            self.compare("heads", logits[name[8:]], pack[name])
        self.compare("loss", loss, pack["loss"])
        self.compare("grad_x", np.load(folder / "gx.npy"), pack["grad_x"])
        gradients = load(folder / "g.safetensors")
        for name in self.weights:
            if name not in self.config["no_gradients"]:
                zero = name in self.config["zero_gradients"]
                self.compare("gradients", gradients[name], pack[f"grad_{name}"], absolute=zero)
        for name, value in load(folder / "s.safetensors").items():
            self.compare("statistics", value, pack[f"buffer_after_{name}"])
        self.curve()

    def curve(self):
        """Five steps of Adam on the gradients that the program writes."""
        weights = {name: value.astype(np.float64) for name, value in self.weights.items()}
        first, second, losses = {}, {}, []
        for step in range(1, 6):
            losses.append(self.run("train", weights))
            for name, gradient in load(self.folder / "g.safetensors").items():
                gradient = gradient.astype(np.float64)
                first[name] = 0.9 * first.get(name, 0.0) + 0.1 * gradient
                second[name] = 0.999 * second.get(name, 0.0) + 0.001 * gradient**2
                spread = np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8
                weights[name] = weights[name] - 1e-3 * first[name] / (1 - 0.9**step) / spread
        losses.append(self.run("train", weights))
        self.compare("curve", losses, self.pack["adam_losses"], absolute=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("segcal")
    parser.add_argument("packs", type=Path)
    parser.add_argument("--backend", default="reference")
    parser.add_argument("--relative", type=float, default=0.0)
    arguments = parser.parse_args()
    failed = False
    for path in sorted(arguments.packs.glob("*.npz")):
        if "config" not in np.load(path).files:
            continue
        with tempfile.TemporaryDirectory() as folder:
            pack = Pack(path, arguments, folder)
            pack.check()
        bound = arguments.relative or 1e-9
        bad = {what: value for what, value in pack.worst.items() if not value <= bound}
        failed |= bool(bad)
        print(path.stem, "FAILED" if bad else "ok", " ".join(f"{k} {v:.1e}" for k, v in pack.worst.items()), flush=True)
    sys.exit(failed)


main()
