"""The networks of `segcal list networks` in PyTorch, with the layers that a PyTorch user would write, for timings.

    python tests/peers/torch_networks.py --net attunet --batch 4 --size 128 --what train --format channels_last

Prints one JSON line: seconds of one Adam step of cross entropy, or of one inference pass, the best of REPS after one that
is not counted; peak resident memory; parameters. `--net` and `--keys` are those of `bench network`, which
`bench versus-torch` runs in turn with this script. Deep supervision is off. Needs torch.
"""

import argparse
import json
import math
import resource
import time

import torch
from torch import nn
from torch.nn import functional as F


class Layers:
    """PyTorch's layers of a number of dimensions."""

    def __init__(self, dims):
        three = dims == 3
        self.conv = nn.Conv3d if three else nn.Conv2d
        self.transposed = nn.ConvTranspose3d if three else nn.ConvTranspose2d
        self.instance = nn.InstanceNorm3d if three else nn.InstanceNorm2d
        self.batch = nn.BatchNorm3d if three else nn.BatchNorm2d
        self.max_pool = nn.MaxPool3d if three else nn.MaxPool2d
        self.average_pool = nn.AvgPool3d if three else nn.AvgPool2d

    def unit(self, inputs, outputs, size=3, stride=1, norm=None, act=None, bias=True):
        parts = [self.conv(inputs, outputs, size, stride, size // 2, bias=bias)]
        parts += [norm(outputs)] if norm else []
        return nn.Sequential(*parts, *([act] if act else []))


class UNet(nn.Module):
    """`unet` and `unet-authors`."""

    def __init__(self, L, channels, classes, base=32, authors=False):
        super().__init__()
        widths = [base << level for level in range(5)]
        norm, act = (None, nn.ReLU(True)) if authors else (lambda c: L.instance(c, affine=True), nn.LeakyReLU(0.01, True))

        def block(i, o):
            return nn.Sequential(L.unit(i, o, 3, 1, norm, act, authors), L.unit(o, o, 3, 1, norm, act, authors))

        factors = [2, 2, 2, 4 if authors else 2]
        self.pools = nn.ModuleList(L.max_pool(f) for f in factors)
        self.down = nn.ModuleList(block(i, o) for i, o in zip([channels, *widths], widths))
        self.grow = nn.ModuleList(
            nn.Upsample(scale_factor=factors[i]) if authors else L.transposed(widths[i + 1], widths[i], 2, 2) for i in range(4)
        )
        self.up = nn.ModuleList(block(widths[i] + widths[i + 1] if authors else 2 * widths[i], widths[i]) for i in range(4))
        self.head = L.conv(base, classes, 1)

    def forward(self, x):
        skips = []
        for level, down in enumerate(self.down):
            x = down(self.pools[level - 1](x) if level else x)
            skips.append(x)
        for level in reversed(range(4)):
            x = self.up[level](torch.cat([self.grow[level](x), skips[level]], 1))
        return self.head(x)


class Gate(nn.Module):
    def __init__(self, L, width):
        super().__init__()
        self.g, self.x = (L.unit(width, width // 2, 1, 1, L.batch) for _ in range(2))
        self.psi = L.unit(width // 2, 1, 1, 1, L.batch, nn.Sigmoid())

    def forward(self, g, x):
        return x * self.psi(F.relu(self.g(g) + self.x(x), inplace=True))


class AttUNet(nn.Module):
    def __init__(self, L, channels, classes, widths=(64, 128, 256, 512, 1024)):
        super().__init__()

        def block(i, o):
            return nn.Sequential(L.unit(i, o, 3, 1, L.batch, nn.ReLU(True)), L.unit(o, o, 3, 1, L.batch, nn.ReLU(True)))

        fine, coarse = widths[:-1], widths[1:]
        self.pool = L.max_pool(2)
        self.down = nn.ModuleList(block(i, o) for i, o in zip([channels, *widths], widths))
        self.grow = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), L.unit(c, f, 3, 1, L.batch, nn.ReLU(True))) for f, c in zip(fine, coarse)
        )
        self.gates = nn.ModuleList(Gate(L, f) for f in fine)
        self.up = nn.ModuleList(block(2 * f, f) for f in fine)
        self.head = L.conv(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for level, down in enumerate(self.down):
            x = down(self.pool(x) if level else x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.grow[level](x)
            x = self.up[level](torch.cat([self.gates[level](x, skips[level]), x], 1))
        return self.head(x)


class Basic(nn.Module):
    """A residual block of two convolutions; `project` makes the skip."""

    def __init__(self, first, second, project, act):
        super().__init__()
        self.first, self.second, self.project, self.act = first, second, project, act

    def forward(self, x):
        return self.act(self.second(self.first(x)) + self.project(x))


class UNetPlusPlus(nn.Module):
    """`unetpp`: a ResNet-34 and a triangle of decoder nodes."""

    def __init__(self, L, channels, classes, blocks=(3, 4, 6, 3), widths=(256, 128, 64, 32, 16)):
        super().__init__()
        encoder = [64, 64, 128, 256, 512]

        def unit(i, o, size=3, stride=1, act=True):
            return L.unit(i, o, size, stride, L.batch, nn.ReLU(True) if act else None, False)

        def basic(i, o, stride):
            project = nn.Identity() if i == o and stride == 1 else unit(i, o, 1, stride, False)
            return Basic(unit(i, o, 3, stride), unit(o, o, 3, 1, False), project, nn.ReLU(True))

        self.stem, self.pool = unit(channels, 64, 7, 2), L.max_pool(3, 2, 1)
        self.layers = nn.ModuleList()
        for level, count in enumerate(blocks):
            i, o, stride = encoder[level], encoder[level + 1], 2 if level else 1
            self.layers.append(nn.Sequential(*(basic(o if n else i, o, 1 if n else stride) for n in range(count))))
        self.nodes = nn.ModuleDict()
        features = encoder[::-1]
        for column in range(4):
            for row in range(column, -1, -1):
                skips = features[column + 1] * (column - row + 1)
                out = widths[column] if row == 0 else features[column + 1]
                before = features[column] if row == column else (widths[column - 1] if row == 0 else features[column])
                self.nodes[f"{row}_{column}"] = nn.Sequential(unit(before + skips, out), unit(out, out))
        self.last = nn.Sequential(unit(widths[3], widths[4]), unit(widths[4], widths[4]))
        self.head = L.conv(widths[4], classes, 3, padding=1)

    def forward(self, x):
        features = [self.stem(x)]
        x = self.pool(features[0])
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        features, done = features[::-1], {}
        for column in range(4):
            for row in range(column, -1, -1):
                below = features[column] if row == column else done[row, column - 1]
                skips = [done[i, column] for i in range(row + 1, column + 1)] + [features[column + 1]]
                x = torch.cat([F.interpolate(below, scale_factor=2), *skips], 1)
                done[row, column] = self.nodes[f"{row}_{column}"](x)
        return self.head(self.last(F.interpolate(done[0, 3], scale_factor=2)))


class ResUNet(nn.Module):
    """`resunet`, and `unet3d-meep` without the blocks' concatenations."""

    def __init__(self, L, channels, classes, widths=(32, 64, 128, 256, 512), join=True):
        super().__init__()

        def block(i, o):
            return nn.Sequential(L.unit(i, o, 3, 1, None, nn.ReLU(True)), L.unit(o, o, 3, 1, None, nn.ReLU(True)))

        self.join, self.pool = join, L.max_pool(2)
        self.down, self.grow, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs = channels
        for width in widths:
            self.down.append(block(inputs, width))
            inputs = inputs + width if join else width
        for width in reversed(widths[:-1]):
            self.grow.append(L.transposed(inputs, width, 2, 2))
            self.up.append(block(2 * width, width))
            inputs = 3 * width if join else width
        self.head = L.conv(inputs, classes, 1)

    def forward(self, x):
        skips = []
        for level, down in enumerate(self.down):
            x = self.pool(x) if level else x
            y = down(x)
            skips.append(y)
            x = torch.cat([x, y], 1) if self.join else y
        for grow, up, skip in zip(self.grow, self.up, skips[-2::-1]):
            joined = torch.cat([grow(x), skip], 1)
            y = up(joined)
            x = torch.cat([joined, y], 1) if self.join else y
        return self.head(x)


class DynUNet(nn.Module):
    """`nnunet-crac`: residual encoder, plain decoder, instance norm without parameters."""

    def __init__(self, L, channels, classes, widths=(32, 64, 128, 256, 512, 512)):
        super().__init__()
        act = nn.LeakyReLU(0.01, True)

        def residual(i, o, stride):
            first, second = L.unit(i, o, 3, stride, L.instance, act, False), L.unit(o, o, 3, 1, L.instance, None, False)
            return Basic(first, second, L.unit(i, o, 1, stride, L.instance, None, False), act)

        def plain(i, o):
            return nn.Sequential(L.unit(i, o, 3, 1, L.instance, act, False), L.unit(o, o, 3, 1, L.instance, act, False))

        self.down = nn.ModuleList(residual(i, o, 2 if n else 1) for n, (i, o) in enumerate(zip([channels, *widths], widths)))
        pairs = list(zip(widths, widths[1:]))
        self.grow = nn.ModuleList(L.transposed(c, f, 2, 2, bias=False) for f, c in pairs)
        self.up = nn.ModuleList(plain(2 * f, f) for f, _ in pairs)
        self.head = L.conv(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](torch.cat([self.grow[level](x), skips[level]], 1))
        return self.head(x)


class NnUNet(nn.Module):
    """`nnunet` and `nnunet-residual`."""

    def __init__(self, L, channels, classes, widths=None, residual=False, dims=2):
        super().__init__()
        widths = widths or [min(32 << n, 320 if dims == 3 else 512) for n in range(6)]
        act = nn.LeakyReLU(0.01, True)

        def norm(c):
            return L.instance(c, affine=True)

        def unit(i, o, stride=1, last=act):
            return L.unit(i, o, 3, stride, norm, last)

        def block(i, o, stride):
            skip = [L.average_pool(stride)] if stride > 1 else []
            skip += [L.unit(i, o, 1, 1, norm, None, False)] if i != o else []
            return Basic(unit(i, o, stride), unit(o, o, 1, None), nn.Sequential(*skip), act)

        self.stem = unit(channels, widths[0]) if residual else nn.Identity()
        self.down, first = nn.ModuleList(), widths[0] if residual else channels
        for n, (i, o) in enumerate(zip([first, *widths], widths)):
            count, part = ([1, 3, 4, 6][min(n, 3)], block) if residual else (2, unit)
            self.down.append(nn.Sequential(*(part(o if k else i, o, 2 if n and not k else 1) for k in range(count))))
        pairs = list(zip(widths, widths[1:]))
        self.grow = nn.ModuleList(L.transposed(c, f, 2, 2) for f, c in pairs)
        self.up = nn.ModuleList(nn.Sequential(unit(2 * f, f), *([] if residual else [unit(f, f)])) for f, _ in pairs)
        self.heads = nn.ModuleList(L.conv(f, classes, 1) for f, _ in pairs)

    def forward(self, x):
        x, skips = self.stem(x), []
        for down in self.down:
            x = down(x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](torch.cat([self.grow[level](x), skips[level]], 1))
        return self.heads[0](x)


class Standardised(nn.Conv2d):
    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) / torch.sqrt(variance + 1e-5)
        return F.conv2d(x, weight, None, self.stride, self.padding)


class Bottleneck(nn.Module):
    def __init__(self, i, mid, o, stride):
        super().__init__()

        def unit(i, o, size, stride=1):
            return nn.Sequential(Standardised(i, o, size, stride, size // 2, bias=False), nn.GroupNorm(32, o, 1e-6))

        relu = nn.ReLU(True)
        self.body = nn.Sequential(unit(i, mid, 1), relu, unit(mid, mid, 3, stride), relu, unit(mid, o, 1))
        project = nn.Sequential(Standardised(i, o, 1, stride, bias=False), nn.GroupNorm(o, o, 1e-5))
        self.project = project if i != o or stride > 1 else nn.Identity()

    def forward(self, x):
        return F.relu(self.body(x) + self.project(x), inplace=True)


class Encoder(nn.Module):
    """One layer of the transformer: attention by PyTorch's fused kernel."""

    def __init__(self, width, inner, heads):
        super().__init__()
        self.heads, self.norms = heads, nn.ModuleList(nn.LayerNorm(width, 1e-6) for _ in range(2))
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Dropout(0.1), nn.Linear(inner, width), nn.Dropout(0.1)
        )

    def forward(self, x):
        y = self.norms[0](x)
        n, tokens, width = y.shape
        q, k, v = (f(y).view(n, tokens, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        x = x + self.out(y)
        return x + self.mlp(self.norms[1](x))


class TransUNet(nn.Module):
    def __init__(self, L, channels, classes, image):
        super().__init__()
        self.root = nn.Sequential(Standardised(3, 64, 7, 2, 3, bias=False), nn.GroupNorm(32, 64, 1e-6), nn.ReLU(True))
        self.blocks, inputs = nn.ModuleList(), 64
        for n, count in enumerate((3, 4, 9)):
            mid, out = 64 << n, 256 << n
            units = [Bottleneck(out if k else inputs, mid, out, 2 if n and not k else 1) for k in range(count)]
            self.blocks.append(nn.Sequential(*units))
            inputs = out
        self.embed = nn.Conv2d(1024, 768, 1)
        self.position = nn.Parameter(torch.zeros(1, (image // 16) ** 2, 768))
        self.drop = nn.Dropout(0.1)
        self.encoder = nn.Sequential(*(Encoder(768, 3072, 12) for _ in range(12)), nn.LayerNorm(768, 1e-6))

        def unit(i, o):
            return L.unit(i, o, 3, 1, L.batch, nn.ReLU(True), False)

        self.more = unit(768, 512)
        shapes = [(512, 512, 256), (256, 256, 128), (128, 64, 64), (64, 0, 16)]
        self.up = nn.ModuleList(nn.Sequential(unit(i + s, o), unit(o, o)) for i, s, o in shapes)
        self.head = nn.Conv2d(16, classes, 3, padding=1)

    def forward(self, x):
        x = x.repeat(1, 3, 1, 1) if x.shape[1] == 1 else x
        skips = [self.root(x)]
        x = self.blocks[0](F.max_pool2d(skips[0], 3, 2))
        skips.append(F.pad(x, (0, 1, 0, 1)))
        x = self.blocks[1](x)
        skips.append(x)
        x = self.embed(self.blocks[2](x))
        n, width, h, w = x.shape
        tokens = self.encoder(self.drop(x.flatten(2).transpose(1, 2) + self.position))
        x = self.more(tokens.transpose(1, 2).reshape(n, width, h, w))
        for up, skip in zip(self.up, [*skips[::-1], None]):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = up(x if skip is None else torch.cat([x, skip], 1))
        return self.head(x)


def network(name, keys, channels, classes, dims, size):
    """The network that `segcal list networks` calls NAME."""
    keys = {key: value for key, value in keys.items() if key != "deep_supervision"}
    L = Layers(dims)
    make = {
        "unet": lambda: UNet(L, channels, classes, **keys),
        "unet-authors": lambda: UNet(L, channels, classes, authors=True, **keys),
        "attunet": lambda: AttUNet(L, channels, classes, **keys),
        "unetpp": lambda: UNetPlusPlus(L, channels, classes),
        "resunet": lambda: ResUNet(L, channels, classes, **keys),
        "unet3d-meep": lambda: ResUNet(L, channels, classes, join=False, **keys),
        "nnunet-crac": lambda: DynUNet(L, channels, classes, **keys),
        "nnunet": lambda: NnUNet(L, channels, classes, dims=dims, **keys),
        "nnunet-residual": lambda: NnUNet(L, channels, classes, residual=True, dims=dims, **keys),
        "transunet": lambda: TransUNet(L, channels, classes, size),
    }
    return make[name]()


def best_of(run, reps):
    run()
    seconds = math.inf
    for _ in range(reps):
        start = time.perf_counter()
        run()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="unet-authors")
    parser.add_argument("--keys", default="{}", type=json.loads)
    parser.add_argument("--what", default="train", choices=["train", "infer"])
    parser.add_argument("--format", default="contiguous", choices=["contiguous", "channels_last"])
    for key, value in dict(batch=4, size=128, classes=4, dims=2, reps=5).items():
        parser.add_argument(f"--{key}", type=int, default=value)
    a = parser.parse_args()
    torch.manual_seed(0)
    net = network(a.net, a.keys, 1, a.classes, a.dims, a.size)
    x = torch.rand(a.batch, 1, *[a.size] * a.dims)
    y = torch.randint(0, a.classes, (a.batch, *x.shape[2:]))
    if a.format == "channels_last":
        layout = torch.channels_last_3d if a.dims == 3 else torch.channels_last
        net, x = net.to(memory_format=layout), x.contiguous(memory_format=layout)
    adam = torch.optim.Adam(net.parameters(), 1e-3)

    def step():
        adam.zero_grad(set_to_none=True)
        F.cross_entropy(net(x), y).backward()
        adam.step()

    if a.what == "train":
        seconds = best_of(step, a.reps)
    else:
        net.eval()
        with torch.inference_mode():
            seconds = best_of(lambda: net(x), a.reps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    count = sum(p.numel() for p in net.parameters())
    print(json.dumps({f"{a.format}_{a.what}_s": seconds, "peak_rss_mib": round(peak), "parameters": count}))


if __name__ == "__main__":
    main()
