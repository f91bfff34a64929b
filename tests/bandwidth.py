#!/usr/bin/env python3
"""One training by 1 to 4 ranks that are joined by slow connections: how much of the exchange of gradients the backward pass
hides, and whether a step takes as long as the model of docs/cluster.md says. Needs root, ip, tc and Open MPI.

    cargo build -p segcal --no-default-features --features mpi
    python3 tests/bandwidth.py target/debug/segcal
    python3 tests/bandwidth.py target/debug/segcal --ranks 2 --rates 1000 --keep traces

Each rank is in a network namespace of its own with a host name of its own; a bridge joins them, and tc limits what each
sends. Exit 1 if weights differ between numbers of ranks, or if no exchange began before the end of its backward pass.
"""

import argparse
import itertools
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

CONFIG = """data = "cohort"
epochs = {epochs}
batch = {batch}
micro_batch = 1
samples.size = [64, 64]
network = {{ levels = {levels}, base = {base}, norm = "{norm}" }}
loss.name = "ce"
"""
# The last byte of the host's address is one more than its number.
AGENT = """#!/bin/sh
host=$((${1##*.} - 1)); shift
exec ip netns exec segcal-$host unshare --uts sh -c "hostname segcal-$host; $*"
"""
SUBNET = "10.77.0"
# Of the phantom.
CLASSES = 3


def run(*words, **more):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Hosts:
    """Network namespaces `segcal-0` and so on, joined by a bridge in `segcal-hub`."""

    def __init__(self, count):
        self.count = count
        run("ip", "netns", "add", "segcal-hub")
        run("ip", "-n", "segcal-hub", "link", "add", "hub", "type", "bridge")
        run("ip", "-n", "segcal-hub", "link", "set", "hub", "up")
        for host in range(count):
            name, port = f"segcal-{host}", f"port{host}"
            run("ip", "netns", "add", name)
            run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", port, "netns", "segcal-hub")
            run("ip", "-n", "segcal-hub", "link", "set", port, "master", "hub", "up")
            run("ip", "-n", name, "addr", "add", f"{SUBNET}.{host + 1}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")

    def limit(self, megabits):
        """Limits what each host sends, in Mb/s; 0 removes the limit."""
        for host in range(self.count):
            tc = ["tc", "-n", f"segcal-{host}", "qdisc"]
            subprocess.run([*tc, "del", "dev", "eth0", "root"], capture_output=True)
            if megabits:
                run(*tc, "add", "dev", "eth0", "root", "tbf", "rate", f"{megabits}mbit", "burst", "128kb", "latency", "20ms")

    @staticmethod
    def remove():
        for name in run("ip", "netns", "list").split():
            if name.startswith("segcal-"):
                run("ip", "netns", "del", name)


def train(options, folder, ranks, label):
    """Trains, and returns the traces of the ranks and the hash chain."""
    name = f"{ranks}-{label}"
    words = [options.program, "-q", "train", "config.toml", f"out={name}", "--trace", f"trace-{name}", "--threads", "1"]
    if ranks > 1:
        only = ["--mca", "oob_tcp_if_include", f"{SUBNET}.0/24", "--mca", "btl_tcp_if_include", f"{SUBNET}.0/24"]
        hosts = ",".join(f"{SUBNET}.{rank + 1}:1" for rank in range(ranks))
        mpirun = ["mpirun", "--mca", "plm_rsh_agent", folder / "agent", "--mca", "btl", "tcp,self", *only, "--bind-to", "none"]
        words = [folder / "agent", f"{SUBNET}.1", *mpirun, "--host", hosts, "-n", ranks, *words]
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    run(*words, cwd=folder, env={**os.environ, **allowed})
    traces = [json.loads((folder / f"trace-{name}/rank-{rank}.json").read_text()) for rank in range(ranks)]
    last = json.loads((folder / name / "log.jsonl").read_text().splitlines()[-1])
    return [spans(trace) for trace in traces], last["hashes"]["weights"]


def spans(trace):
    """The stretches of each kind, in seconds and bytes, in order of time."""
    found = {}
    for event in trace:
        if event["ph"] == "X":
            began = event["ts"] / 1e6
            found.setdefault(event["name"], []).append((began, began + event["dur"] / 1e6, event["args"]["bytes"]))
    return found


class Step:
    """The fastest step of a rank: seconds of its stretches, and what is known of its exchanges."""

    def __init__(self, trace):
        waits = trace.get("wait for gradients", [(0.0, 0.0, 0)] * len(trace["backward"]))
        # The first step warms up.
        steps = list(zip(trace["forward"], trace["backward"], waits, trace["update"]))[1:]
        best = min(steps, key=lambda step: step[-1][1] - step[0][0])
        self.forward, self.backward, self.wait, self.update = (ended - began for began, ended, _ in best)
        self.step = best[-1][1] - best[0][0]
        (began, ended, _), (_, until, _) = best[1:3]
        own = [span for span in trace.get("gradients", []) if began <= span[0] <= until]
        self.buckets, self.bytes = len(own), sum(span[2] for span in own)
        self.exchange = sum(end - begin for begin, end, _ in own)
        self.hidden = sum(max(0.0, min(end, ended) - begin) for begin, end, _ in own)
        self.first = (own[0][0] - began) / (ended - began) if own else 1.0
        self.last = own[-1][2] if own else 0
        self.smallest = min((end - begin for begin, end, _ in trace.get("gradients", [])), default=0.0)


def mean(steps):
    """The mean over the ranks."""
    step = steps[0]
    step.__dict__ = {name: statistics.mean(getattr(step, name) for step in steps) for name in vars(step)}
    return step


class Model:
    """The model of docs/cluster.md, with parameters from one rank and from two ranks without a limit."""

    def __init__(self, one, free, options):
        self.one, self.free, self.batch = one, free, options.batch
        # Seconds for a byte of all ranks: to move it without a limit, and of the backward pass.
        self.moving, self.handling = free.exchange / (2 * free.bytes), 0.0
        self.handling = max(0.0, free.step - self.step(free, 2, 0)) / (2 * free.bytes)

    def step(self, own, ranks, rate):
        """Seconds of a step: `own` says how many bytes a rank sends, `rate` is in Mb/s, 0 without a limit."""
        # Ranks that share processors compute more slowly.
        share = math.ceil(self.batch / ranks) / self.batch * max(1.0, ranks / os.cpu_count())
        send = lambda size: (ranks - 1) * 8e-6 * size / rate if rate else 0.0
        latency, logits = self.free.smallest, 4 * self.batch * CLASSES * 64 * 64 / ranks
        forward, backward = self.one.forward * share + send(logits) + latency, self.one.backward * share
        handling = self.handling * ranks * own.bytes
        last = send(self.free.last * own.bytes / self.free.bytes) + latency
        exchange = send(own.bytes) + self.moving * ranks * own.bytes
        return forward + max(backward + handling + last, self.free.first * backward + exchange) + self.one.update


def compare(options, folder):
    run(options.program, "-q", "phantom", "cohort", "--train", "4", "--val", "1", "--test", "1", "--size", "8,64,64", cwd=folder)
    (folder / "config.toml").write_text(CONFIG.format(**vars(options)))
    (folder / "agent").write_text(AGENT)
    (folder / "agent").chmod(0o755)
    (trace,), weights = train(options, folder, 1, "alone")
    one, model, fine = Step(trace), None, True
    print(f"one rank: forward {one.forward:.3f} s, backward {one.backward:.3f} s, update {one.update:.3f} s, step {one.step:.3f} s")
    print("ranks  Mb/s   MiB sent  forward  backward  exchange  of it in backward  wait   step   model  if exchanged after")
    for rate, ranks in itertools.product([0, *options.rates], options.ranks):
        HOSTS.limit(rate)
        traces, found = train(options, folder, ranks, rate or "free")
        own = mean([Step(trace) for trace in traces])
        model = model or Model(one, own, options)
        after = own.step - own.wait + own.exchange
        print(f"{ranks:5}  {rate or '-':>5}  {own.bytes / 2**20:8.2f}  {own.forward:7.3f}  {own.backward:8.3f}  {own.exchange:8.3f}"
              f"  {100 * own.hidden / own.exchange:15.0f} %  {own.wait:5.3f}  {own.step:5.3f}  {model.step(own, ranks, rate):5.3f}  {after:18.3f}", flush=True)
        fine &= found == weights and own.hidden > 0.0
        if found != weights:
            print(f"{ranks} ranks: the weights differ from those of one rank")
    free = model.free
    print(f"first bucket full after {100 * free.first:.0f} % of the backward pass, {free.buckets:.0f} buckets, the last of "
          f"{free.last / 2**20:.2f} MiB, smallest exchange {1e3 * free.smallest:.2f} ms; a MiB of all ranks takes {1e3 * 2**20 * model.moving:.2f} ms to "
          f"move and {1e3 * 2**20 * model.handling:.2f} ms of the backward pass")
    return fine


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program", type=pathlib.Path, help="segcal, built with MPI")
parser.add_argument("--ranks", type=int, nargs="+", default=[2], help="numbers of ranks, the first of them 2")
parser.add_argument("--rates", type=int, nargs="+", default=[1000, 100], help="limits in Mb/s; without a limit comes first")
parser.add_argument("--epochs", type=int, default=5, help="4 steps each")
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--levels", type=int, default=4)
parser.add_argument("--base", type=int, default=32)
parser.add_argument("--norm", default="instance")
parser.add_argument("--keep", type=pathlib.Path, help="folder to copy the traces to")
options = parser.parse_args()
options.program = options.program.resolve()
Hosts.remove()
HOSTS = Hosts(max(options.ranks))
try:
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        fine = compare(options, folder)
        for trace in folder.glob("trace-*") if options.keep else []:
            shutil.copytree(trace, options.keep / trace.name, dirs_exist_ok=True)
finally:
    Hosts.remove()
sys.exit(not fine)
