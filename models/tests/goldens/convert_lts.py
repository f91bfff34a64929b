"""Makes lts.safetensors of lts_forward.npz (see README.md): python convert_lts.py lts_forward.npz lts.safetensors. Needs NumPy."""
import json
import struct
import sys

import numpy

arrays = {}
with numpy.load(sys.argv[1]) as golden:
    for key in golden:
        if key.startswith("param_"):
            arrays[key.removeprefix("param_")] = golden[key]
        elif key.startswith("grad_"):
            arrays["gradient." + key.removeprefix("grad_")] = golden[key]
        elif key in ("logits", "image"):
            arrays["golden." + key] = golden[key]
        elif key in ("random_temperature", "labels"):
            arrays["golden." + key.removeprefix("random_")] = golden[key][:, None].astype("float64")
        elif key in ("random_out", "random_nll"):
            arrays["golden." + key.removeprefix("random_")] = golden[key].reshape(golden[key].shape or (1,))

header, data = {"__metadata__": {"groups": ",golden,gradient"}}, b""
for name, array in arrays.items():
    bits = numpy.ascontiguousarray(array).tobytes()
    header[name] = {"dtype": "F64", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(bits)]}
    data += bits
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[2], "wb") as out:
    out.write(struct.pack("<Q", len(text)) + text + data)
