"""PyTorch's eager form of the pixel-wise losses beside segcal's: value and gradient, both run in turn.

    pip install torch
    cargo build --release --no-default-features -p segcal-tests --bin bench
    python tests/peers/losses.py --bench target/release/bench --alternations 5

Logits 16 x 4 x 224 x 224, float32, as in `bench loss`. Each form is written as a user of PyTorch would write it, with
torch.nn.functional where there is one, and computes what segcal computes by default (the authors' convention). What
depends on the labels alone (priors, regions, weights) is computed in every call, as in training. `bwcr` has no eager form:
its boundary weights need a distance transform. Without --bench it prints PyTorch's milliseconds as one line of JSON.

The table has, for each loss, the medians over the alternations of the best of --reps runs, and their ratio
(PyTorch / segcal: above 1 segcal is faster) with its lowest and highest.
"""
import argparse, json, os, statistics, subprocess, time
import torch, torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("--threads", type=int, default=0, help="of both; 0: one per core")
p.add_argument("--reps", type=int, default=9)
p.add_argument("--bench", help="segcal's bench program")
p.add_argument("--alternations", type=int, default=5)
p.add_argument("--only", nargs="*", default=[])
p.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="of PyTorch, without --bench")
a = p.parse_args()
if a.threads:
    torch.set_num_threads(a.threads)

N, K, SIZE = 16, 4, 224
torch.manual_seed(0)
logits = (torch.rand(N, K, SIZE, SIZE) * 8 - 4).requires_grad_()
place = torch.arange(N * SIZE * SIZE)
labels = ((place // SIZE // 40 + place % SIZE // 50) % K).reshape(N, SIZE, SIZE)


def onehot():
    return F.one_hot(labels, K).permute(0, 3, 1, 2).float()


def ce(z):
    return F.cross_entropy(z, labels)


def soft_dice(z, first=0, smooth=1e-5):
    s, y = z.softmax(1)[:, first:], onehot()[:, first:]
    overlap, total = (s * y).sum((2, 3)), s.sum((2, 3)) + y.sum((2, 3))
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def focal(z):
    log_p = F.log_softmax(z, 1).gather(1, labels[:, None])
    return (-((1 - log_p.exp()) ** 3) * log_p).mean()


def ecp(z):
    # Without the clamps to [1e-10, 1 - 1e-10] of the authors' code, which cost PyTorch half as much again.
    log_p = F.log_softmax(z, 1)
    return F.nll_loss(log_p, labels) + 0.1 * (log_p.exp() * log_p).mean()


def svls(z):
    r = torch.arange(3) - 1.0
    w = torch.exp(-(r[:, None] ** 2 + r[None] ** 2) / 2)
    w = w / w.sum()
    w[1, 1] = 1 - w[1, 1]
    w = (w / w.sum()).expand(K, 1, 3, 3).contiguous()
    soft = F.conv2d(F.pad(onehot(), (1, 1, 1, 1), mode="replicate"), w, groups=K)
    return -(soft * F.log_softmax(z, 1)).sum(1).mean()


def distances(z):
    return z.amax(1, keepdim=True) - z


def mbls(z):
    return ce(z) + 0.1 * F.relu(distances(z) - 10).mean()


def mean_prior():
    patches = F.unfold(labels[:, None].float(), 3, padding=1).reshape(N, 9, SIZE, SIZE)
    return torch.stack([(patches == k).float().mean(1) for k in range(K)], 1), patches


def phr(h, rho, lam):
    active = lam + rho * h
    return torch.where(active >= 0, h * (lam + 0.5 * rho * h), -(lam**2) / (2 * rho))


def crac(z):
    tau, patches = mean_prior()
    outer = (patches.amax(1, keepdim=True) != patches.amin(1, keepdim=True)).float()
    lam = torch.full((K, 1, 1), 1e-6)
    outside = phr((tau - z).abs() * outer, 0.1, lam)
    inside = phr((5 * tau - z).abs() * (1 - outer), 0.1, lam)
    return ce(z) + torch.cat([outside, inside], 1).mean()


def cals(z):
    return ce(z) + phr((distances(z) - 20) / 20, 1.0, torch.full((K, 1, 1), 1e-6)).mean()


def meep(z):
    p = z.softmax(1).clamp(1e-7, 1 - 1e-7)
    wrong = (z.argmax(1) != labels).float()
    binary = lambda t: -(t * (p + 1e-7).log() + (1 - t) * (1 - p + 1e-7).log()).mean(1)
    return binary(onehot()).mean() - 0.3 * (binary(p) * wrong).sum() / wrong.sum().clamp(min=1)


def ace_l1(z, bins=20):
    s, y = z.softmax(1), onehot()
    group = (torch.arange(N * K) * bins).reshape(N, K, 1, 1)
    index = ((s.detach() * bins).long().clamp(max=bins - 1) + group).flatten()
    gaps = torch.zeros(N * K * bins).index_add(0, index, (s - y).flatten()).reshape(N, K, bins)
    counts = torch.bincount(index, minlength=N * K * bins).reshape(N, K, bins)
    mean = (gaps.abs() / counts.clamp(min=1)).sum(2) / (counts > 0).sum(2).clamp(min=1)
    return mean.mean()


losses = {
    "ce": ce,
    "dice": soft_dice,
    "ce-dice": lambda z: ce(z) + soft_dice(z),
    "focal": focal,
    "ecp": ecp,
    "label-smoothing": lambda z: F.cross_entropy(z, labels, label_smoothing=0.1),
    "svls": svls,
    "mbls": mbls,
    "mbls-l2": lambda z: ce(z) + 0.1 * (F.relu(distances(z) - 10) ** 2).mean(),
    "mbls-dice": lambda z: mbls(z) + soft_dice(z, first=1),
    "nacl": lambda z: ce(z) + 0.1 * (mean_prior()[0] - z).abs().mean(),
    "crac": crac,
    "cals": cals,
    "meep": meep,
    "ace-l1": ace_l1,
}


def measure():
    clock = time.process_time if a.clock == "cpu" else time.perf_counter
    table = {}
    for name, loss in losses.items():
        if a.only and name not in a.only:
            continue
        times = []
        for _ in range(a.reps + 1):
            logits.grad = None
            start = clock()
            loss(logits).backward()
            times.append(clock() - start)
        times = sorted(times[1:])
        table[name] = {"best_ms": times[0] * 1e3, "median_ms": times[len(times) // 2] * 1e3}
    return table


def segcal():
    env = dict(os.environ, **({"RAYON_NUM_THREADS": str(a.threads)} if a.threads else {}))
    command = [a.bench, "loss", "--reps", str(a.reps), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)


def compare():
    rounds = [(measure(), segcal()) for _ in range(a.alternations)]
    print(f"| loss | PyTorch {torch.__version__.split('+')[0]} ms | segcal ms | ratio | lowest | highest |\n|---|---|---|---|---|---|")
    for name in rounds[0][0]:
        pairs = [(theirs[name]["best_ms"], ours[name]["best_ms"]) for theirs, ours in rounds if name in ours]
        if not pairs:
            continue
        ratios = [theirs / ours for theirs, ours in pairs]
        theirs, ours = (statistics.median(column) for column in zip(*pairs))
        print(f"| `{name}` | {theirs:.1f} | {ours:.1f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} |")


if a.bench:
    compare()
else:
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "losses": measure()}))
