"""PyTorch's eager form of the pixel-wise losses, value and gradient, beside `bench loss`: one line of JSON.

usage: losses.py [--threads N] [--reps R]; `pip install torch` first. Logits 16 x 4 x 224 x 224, float32, as in the
benchmark. Each form is written as a user of PyTorch would write it, with torch.nn.functional where there is one.
"""
import argparse, json, time
import torch, torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("--threads", type=int, default=0)
p.add_argument("--reps", type=int, default=9)
a = p.parse_args()
if a.threads:
    torch.set_num_threads(a.threads)

torch.manual_seed(0)
logits = (torch.rand(16, 4, 224, 224) * 8 - 4).requires_grad_()
place = torch.arange(16 * 224 * 224)
labels = ((place // 224 // 40 + place % 224 // 50) % 4).reshape(16, 224, 224)
onehot = lambda: F.one_hot(labels, 4).permute(0, 3, 1, 2).float()


def dice(z):
    s, y = z.softmax(1), onehot()
    overlap, total = (s * y).sum((2, 3)), s.sum((2, 3)) + y.sum((2, 3))
    return (1 - (2 * overlap + 1e-5) / (total + 1e-5)).mean()


def focal(z):
    log_p = F.log_softmax(z, 1).gather(1, labels[:, None])
    return (-((1 - log_p.exp()) ** 3) * log_p).mean()


def ecp(z):
    log_p = F.log_softmax(z, 1)
    return F.nll_loss(log_p, labels) + 0.1 * (log_p.exp() * log_p).mean()


def mbls(z):
    return F.cross_entropy(z, labels) + 0.1 * F.relu(z.amax(1, keepdim=True) - z - 10).mean()


def mean_prior():
    patches = F.unfold(labels[:, None].float(), 3, padding=1).reshape(16, 9, 224, 224)
    return torch.stack([(patches == k).float().mean(1) for k in range(4)], 1)


def nacl(z):
    return F.cross_entropy(z, labels) + 0.1 * (mean_prior() - z).abs().mean()


losses = {
    "ce": lambda z: F.cross_entropy(z, labels),
    "label-smoothing": lambda z: F.cross_entropy(z, labels, label_smoothing=0.1),
    "dice": dice, "focal": focal, "ecp": ecp, "mbls": mbls, "nacl": nacl,
    "ce-dice": lambda z: F.cross_entropy(z, labels) + dice(z),
}
table = {}
for name, loss in losses.items():
    times = []
    for _ in range(a.reps + 1):
        logits.grad = None
        start = time.perf_counter()
        loss(logits).backward()
        times.append(time.perf_counter() - start)
    times = sorted(times[1:])
    table[name] = {"best_ms": times[0] * 1e3, "median_ms": times[len(times) // 2] * 1e3}
print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "losses": table}))
