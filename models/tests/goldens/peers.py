"""Makes unet_peers.safetensors (see README.md): outputs of small UNets computed by ONNX Runtime from graphs written here.
python peers.py unet_tiny.safetensors unet_peers.safetensors. Needs onnx, onnxruntime, numpy."""
import json
import struct
import sys

import numpy
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def read(path):
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    header.pop("__metadata__")
    kinds = {"F32": numpy.float32, "F64": numpy.float64}
    return {name: numpy.frombuffer(data[slice(*at["data_offsets"])], kinds[at["dtype"]]).reshape(at["shape"]) for name, at in header.items()}


def write(path, arrays, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, array in arrays.items():
        bits = array.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(bits)]}
        data += bits
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


class Graph:
    """An ONNX graph that grows node by node; `weights` by name."""

    def __init__(self, weights):
        self.nodes, self.weights, self.extra = [], weights, {}

    def add(self, op, *inputs, **attributes):
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def unit(self, x, name, norm):
        kernel = self.weights[name + ".conv.weight"].shape[2:]
        names = [name + ".conv.weight"] + ([] if norm else [name + ".conv.bias"])
        y = self.add("Conv", x, *names, pads=[k // 2 for k in kernel] * 2)
        if not norm:
            return self.add("Relu", y)
        y = self.add("InstanceNormalization", y, name + ".norm.weight", name + ".norm.bias", epsilon=1e-5)
        return self.add("LeakyRelu", y, alpha=0.01)

    def enlarge(self, x, level, pool, kind):
        if kind == "transposed":
            return self.add("ConvTranspose", x, f"up.{level}.up.weight", f"up.{level}.up.bias", strides=pool)
        scales = f"scales{level}"
        self.extra[scales] = numpy.array([1, 1, *pool], numpy.float32)
        if kind == "nearest":
            how = dict(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        else:
            how = dict(mode="linear", coordinate_transformation_mode="half_pixel")
        return self.add("Resize", x, "", scales, **how)

    def unet(self, pools, norm, kind):
        x, skips = "x", []
        for level in range(len(pools) + 1):
            if level:
                x = self.add("MaxPool", x, kernel_shape=pools[level - 1], strides=pools[level - 1])
            for unit in (1, 2):
                x = self.unit(x, f"down.{level}.l{unit}", norm)
            skips.append(x)
        for level in reversed(range(len(pools))):
            x = self.add("Concat", self.enlarge(x, level, pools[level], kind), skips[level], axis=1)
            for unit in (1, 2):
                x = self.unit(x, f"up.{level}.l{unit}", norm)
        return self.add("Conv", x, "conv_final.weight", "conv_final.bias")

    def run(self, out, x):
        constants = [numpy_helper.from_array(a, n) for n, a in {**self.weights, **self.extra}.items()]
        value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "unet", [value("x")], [value(out)], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return onnxruntime.InferenceSession(model.SerializeToString()).run([out], {"x": x})[0]


def random_weights(random, in_channels, classes, base, levels, kernels, pools):
    """Ours, transposed up-sampling and instance norm."""
    widths, weights = [base * 2**level for level in range(levels)], {}
    normal = lambda *shape: random.normal(size=shape, scale=(2 / numpy.prod(shape[1:])) ** 0.5).astype(numpy.float32)

    def block(name, inputs, outputs):
        for unit, channels in ((1, inputs), (2, outputs)):
            weights[f"{name}.l{unit}.conv.weight"] = normal(outputs, channels, *kernels)
            weights[f"{name}.l{unit}.norm.weight"] = random.uniform(0.5, 1.5, outputs).astype(numpy.float32)
            weights[f"{name}.l{unit}.norm.bias"] = random.normal(size=outputs, scale=0.3).astype(numpy.float32)

    for level, width in enumerate(widths):
        block(f"down.{level}", in_channels if level == 0 else widths[level - 1], width)
    for level in range(levels - 1):
        weights[f"up.{level}.up.weight"] = normal(widths[level + 1], widths[level], *pools[level])
        weights[f"up.{level}.up.bias"] = random.normal(size=widths[level]).astype(numpy.float32)
        block(f"up.{level}", 2 * widths[level], widths[level])
    weights["conv_final.weight"] = normal(classes, base, *[1] * len(kernels))
    weights["conv_final.bias"] = random.normal(size=classes).astype(numpy.float32)
    return weights


random, out = numpy.random.default_rng(2), {}
stored = read(sys.argv[1])
authors = {name: array for name, array in stored.items() if not name.startswith("golden.")}
for kind in ("nearest", "linear"):
    # As stored, the last rectifiers are silent for every input and the output is the head's bias; so wake them.
    lifted = {n: a + numpy.float32(0.25) if n.endswith("conv.bias") else 2 * a for n, a in authors.items()}
    x = random.normal(size=(2, 1, 64, 32)).astype(numpy.float32)
    graph, deaf = Graph(lifted), Graph({n: 0 * a if n.startswith("down.4") else a for n, a in lifted.items()})
    out[f"authors_{kind}.x"] = x
    pools = [[2, 2], [2, 2], [2, 2], [4, 4]]
    out[f"authors_{kind}.y"] = graph.run(graph.unet(pools, False, kind), x)
    share = numpy.abs(out[f"authors_{kind}.y"] - deaf.run(deaf.unet(pools, False, kind), x)).max()
    print(f"{kind}: the coarsest level contributes up to {share:.3g}")
for name, pools, spatial in (("flat", [[2, 2], [2, 2]], (12, 16)), ("deep", [[1, 2, 2], [2, 2, 2]], (4, 8, 12))):
    weights = random_weights(random, 2, 3, 2, 3, [3] * len(spatial), pools)
    graph, x = Graph(weights), random.normal(size=(2, 2, *spatial)).astype(numpy.float32)
    out |= {f"{name}.{key}": array for key, array in weights.items()}
    out[f"{name}_golden.x"] = x
    out[f"{name}_golden.y"] = graph.run(graph.unet(pools, True, "transposed"), x)
for name, array in out.items():
    if name.endswith(".y"):
        print(name, array.shape, "standard deviation per class", array.std(axis=tuple(a for a in range(array.ndim) if a != 1)))
write(sys.argv[2], out, {"groups": "authors_nearest,authors_linear,flat,deep,flat_golden,deep_golden"})
