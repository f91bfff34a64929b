"""Seconds of one inference pass: segcal, ONNX Runtime, OpenVINO and PyTorch in turn, f32, two threads, with the ratios.

    pip install -r requirements.txt
    cargo build --release --no-default-features -p segcal-tests --bin bench
    python tests/peers/inference.py --bench target/release/bench --net unet-authors --batch 4 --size 128

Every alternation starts one process of each program; a process reports the best of its passes after one that is not
counted. PyTorch runs in its faster memory format.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def worker(program, a):
    """One program's best, in a process of its own."""
    import numpy as np
    from torch_networks import best_of, network

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
    net, best = network(a.net, json.loads(a.keys), 1, a.classes, a.dims, a.size).eval(), float("inf")
    for layout in (torch.contiguous_format, torch.channels_last if a.dims == 2 else torch.channels_last_3d):
        net, image = net.to(memory_format=layout), torch.from_numpy(x).contiguous(memory_format=layout)
        with torch.inference_mode():
            best = min(best, best_of(lambda: net(image), a.reps))
    return best


def segcal(a):
    options = dict(net=a.net, keys=a.keys, batch=a.batch, size=a.size, classes=a.classes, dims=a.dims, reps=a.reps)
    command = [a.bench, "network", "--what", "infer", "--json"]
    command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return json.loads(subprocess.check_output(command, env={"RAYON_NUM_THREADS": str(a.threads)}))["seconds"]


def export(a, path):
    import torch
    from torch_networks import network

    x = torch.zeros(a.batch, 1, *[a.size] * a.dims)
    net = network(a.net, json.loads(a.keys), 1, a.classes, a.dims, a.size).eval()
    torch.onnx.export(net, (x,), path, dynamo=True, verbose=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="target/release/bench")
    parser.add_argument("--net", default="unet-authors", help="a name of `segcal list networks`")
    parser.add_argument("--keys", default="{}", help="a JSON object of the network's keys")
    for key, value in dict(batch=4, size=128, classes=4, dims=2, reps=5, times=5, threads=2).items():
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
        model = str(Path(folder) / "network.onnx")
        export(a, model)
        for _ in range(a.times):
            seconds["segcal"].append(segcal(a))
            for name in programs:
                command = [sys.executable, __file__, *sys.argv[1:], "--worker", name, "--model", model]
                seconds[name].append(float(subprocess.check_output(command, stderr=subprocess.DEVNULL).split()[-1]))
    print(f"{a.net}, {a.batch} x {a.size}^{a.dims}, {a.keys}: median seconds, ratio to segcal (lowest to highest)")
    for name, values in seconds.items():
        ratios = sorted(theirs / ours for theirs, ours in zip(values, seconds["segcal"]))
        print(f"{name:12} {statistics.median(values):.4f}  {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
