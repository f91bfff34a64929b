"""Seconds of one inference pass: segcal, ONNX Runtime, OpenVINO and PyTorch in turn, f32, two threads, with the ratios.

    pip install -r requirements.txt
    cargo build --release --no-default-features -p segcal-tests --bin bench
    python tests/peers/inference.py --bench target/release/bench --net authors --batch 4 --size 128

Every alternation starts one process of each program; a process reports the best of its passes after one that is not
counted. PyTorch runs in its faster memory format.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def network(kind, base, classes, dims):
    """The UNet that `segcal bench unet --net KIND` runs, with PyTorch's layers."""
    import torch
    from torch import nn
    from torch.nn import functional

    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    norm = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims]
    transposed = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dims]
    pool = {2: functional.max_pool2d, 3: functional.max_pool3d}[dims]
    authors = kind == "authors"
    widths = [base << level for level in range(5)]
    factors = [2, 2, 2, 4 if authors else 2]

    def block(inputs, outputs):
        layers = []
        for channels in (inputs, outputs):
            layers.append(conv(channels, outputs, 3, padding=1, bias=authors))
            layers += [nn.ReLU()] if authors else [norm(outputs, affine=True), nn.LeakyReLU(0.01)]
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.ModuleList(block(i, o) for i, o in zip([1, *widths], widths))
            joined = lambda level: widths[level] + widths[level + 1] if authors else 2 * widths[level]
            self.up = nn.ModuleList(block(joined(level), widths[level]) for level in range(4))
            grow = [nn.Identity() if authors else transposed(widths[i + 1], widths[i], 2, 2) for i in range(4)]
            self.grow = nn.ModuleList(grow)
            self.head = conv(base, classes, 1)

        def forward(self, x):
            skips = []
            for level, down in enumerate(self.down):
                x = down(pool(x, factors[level - 1]) if level else x)
                skips.append(x)
            for level in reversed(range(4)):
                x = functional.interpolate(x, scale_factor=factors[level]) if authors else self.grow[level](x)
                x = self.up[level](torch.cat([x, skips[level]], 1))
            return self.head(x)

    torch.manual_seed(0)
    return UNet().eval()


def best_of(run, reps):
    run()
    seconds = []
    for _ in range(reps):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def worker(program, a):
    """One program's best, in a process of its own."""
    import numpy as np

    shape = (a.batch, 1, *[a.size] * a.dims)
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    if program == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = a.threads
        session = onnxruntime.InferenceSession(a.model, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return best_of(lambda: session.run(None, {name: x}), a.reps)
    if program == "openvino":
        import openvino

        core = openvino.Core()
        hints = {"INFERENCE_NUM_THREADS": a.threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(a.model, "CPU", hints)
        request = compiled.create_infer_request()
        return best_of(lambda: request.infer({0: x}), a.reps)
    import torch

    torch.set_num_threads(a.threads)
    net, best = network(a.net, a.base, a.classes, a.dims), float("inf")
    for layout in (torch.contiguous_format, torch.channels_last if a.dims == 2 else torch.channels_last_3d):
        net, image = net.to(memory_format=layout), torch.from_numpy(x).contiguous(memory_format=layout)
        with torch.inference_mode():
            best = min(best, best_of(lambda: net(image), a.reps))
    return best


def segcal(a):
    options = dict(net=a.net, batch=a.batch, size=a.size, base=a.base, classes=a.classes, dims=a.dims, reps=a.reps)
    command = [a.bench, "unet", "--what", "infer", "--json"]
    command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return json.loads(subprocess.check_output(command, env={"RAYON_NUM_THREADS": str(a.threads)}))["seconds"]


def export(a, path):
    import torch

    x = torch.zeros(a.batch, 1, *[a.size] * a.dims)
    torch.onnx.export(network(a.net, a.base, a.classes, a.dims), (x,), path, dynamo=True, verbose=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="target/release/bench")
    parser.add_argument("--net", default="authors", choices=["authors", "inorm"])
    for key, value in dict(batch=4, size=128, base=32, classes=4, dims=2, reps=5, times=5, threads=2).items():
        parser.add_argument(f"--{key}", type=int, default=value)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.worker:
        print(worker(a.worker, a))
        return
    programs = ["onnxruntime", "openvino", "torch"]
    seconds = {name: [] for name in ["segcal", *programs]}
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "unet.onnx")
        export(a, model)
        for _ in range(a.times):
            seconds["segcal"].append(segcal(a))
            for name in programs:
                command = [sys.executable, __file__, *sys.argv[1:], "--worker", name, "--model", model]
                seconds[name].append(float(subprocess.check_output(command, stderr=subprocess.DEVNULL).split()[-1]))
    print(f"{a.net}, {a.batch} x {a.size}^{a.dims}, base {a.base}: median seconds, ratio to segcal (lowest to highest)")
    for name, values in seconds.items():
        ratios = sorted(theirs / ours for theirs, ours in zip(values, seconds["segcal"]))
        print(f"{name:12} {statistics.median(values):.4f}  {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
