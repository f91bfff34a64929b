"""Golden packs of networks (npz) as safetensors for the tests: numbers alone, each once.

    python models/tests/goldens/convert_nets.py FOLDER_OF_PACKS
"""
import json, struct, sys
from pathlib import Path
import numpy as np

TYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}
HERE = Path(__file__).parent / "nets"


def convert(path: Path) -> None:
    pack = np.load(path)
    if "config" not in pack.files:
        return
    arrays = {}
    for key in pack.files:
        if key == "config" or key.startswith("mid_") or "num_batches_tracked" in key or key.startswith("labels_head"):
            continue
        value = np.asarray(pack[key])
        if key == "labels":
            value = value.astype(np.float32)
        # Training and evaluation agree where there is no batch norm.
        if key == "y_eval" and not any(name.startswith("buffer_") for name in pack.files) and np.array_equal(value, pack["y_train"]):
            continue
        arrays[key] = value
    header, data = {"__metadata__": {"config": str(pack["config"])}}, b""
    for key in sorted(arrays):
        raw = np.ascontiguousarray(arrays[key]).tobytes()
        header[key] = {
            "dtype": TYPES[str(arrays[key].dtype)], "shape": list(arrays[key].shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    HERE.mkdir(exist_ok=True)
    (HERE / f"{path.stem}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    convert(path)
