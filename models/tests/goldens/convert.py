"""Makes unet_tiny.safetensors of unet_tiny.npz (see README.md): python convert.py unet_tiny.npz unet_tiny.safetensors. Needs NumPy."""
import json
import struct
import sys

import numpy

arrays = {}
with numpy.load(sys.argv[1]) as golden:
    for key in golden:
        arrays["golden." + key if key in ("x", "y") else key.removeprefix("param_")] = golden[key]

header, data = {"__metadata__": {"groups": ",golden"}}, b""
for name, array in arrays.items():
    bits = array.tobytes()
    dtype = {"float32": "F32", "float64": "F64"}[str(array.dtype)]
    header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(bits)]}
    data += bits
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[2], "wb") as out:
    out.write(struct.pack("<Q", len(text)) + text + data)
