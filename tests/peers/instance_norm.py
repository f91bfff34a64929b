"""How exact the instance norm of ONNX Runtime is, by the size of the map: the largest deviation from f64.

    VENV/bin/python tests/peers/instance_norm.py

Numbers from 1 to 1.05, as a layer with a bias gives them. What it shows: the error grows with the map, so that an exported
network can differ from `segcal predict` by more on large images than tests/peers/exported.py finds on small ones.
"""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

EPSILON = 1e-5


def model(shape):
    """One instance norm of eight channels without scale and shift."""
    node = helper.make_node("InstanceNormalization", ["x", "scale", "shift"], ["y"], epsilon=EPSILON)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [8], np.ones(8)),
        helper.make_tensor("shift", TensorProto.FLOAT, [8], np.zeros(8)),
    ]
    graph = helper.make_graph([node], "norm", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


print("onnxruntime", onnxruntime.__version__)
for extent in (64, 128, 256, 512):
    x = np.random.default_rng(0).uniform(1.0, 1.05, (1, 8, extent, extent)).astype(np.float32)
    found = onnxruntime.InferenceSession(model(x.shape).SerializeToString()).run(None, {"x": x})[0]
    wide = x.astype(np.float64)
    centred = wide - wide.mean((2, 3), keepdims=True)
    expected = centred / np.sqrt(wide.var((2, 3), keepdims=True) + EPSILON)
    print(f"{extent:4} x {extent:<4} {np.abs(found - expected).max():.1e}")
