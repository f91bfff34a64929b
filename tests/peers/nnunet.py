"""nnU-Net for two epochs with a trainer of segcal, and `segcal evaluate` of its predictions: python nnunet.py [TRAINER].

`pip install nnunetv2` and the wheel first. CPU only; a few minutes on two cores.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np

from segcal import evaluate
from segcal.nnunet import folder

SHORT = """
from segcal_trainers import {base}

class {base}Short({base}):
    def initialize(self):
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 2, 3, 2
        super().initialize()
"""


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def dataset(raw: Path, cases: int) -> None:
    """Noisy balls, bright on dark."""
    rng, grid = np.random.default_rng(0), np.indices((24, 24, 24))
    for case in range(cases):
        centre = rng.uniform(9, 15, 3)
        ball = (((grid - centre[:, None, None, None]) ** 2).sum(0) < rng.uniform(16, 49)).astype(np.uint8)
        write(raw / "labelsTr" / f"case_{case}.nii.gz", ball)
        write(raw / "imagesTr" / f"case_{case}_0000.nii.gz", (ball + rng.normal(size=ball.shape)).astype(np.float32))
    description = {
        "channel_names": {"0": "MRI"}, "labels": {"background": 0, "ball": 1}, "numTraining": cases, "file_ending": ".nii.gz"
    }
    (raw / "dataset.json").write_text(json.dumps(description))


def main() -> None:
    trainer = sys.argv[1] if len(sys.argv) > 1 else "nnUNetTrainerNACL"
    with tempfile.TemporaryDirectory() as root:
        base = Path(root)
        own = base / "trainers"
        own.mkdir()
        (own / "short.py").write_text(SHORT.format(base=trainer))
        paths = {f"nnUNet_{name}": str(base / name) for name in ("raw", "preprocessed", "results")}
        environment = os.environ | paths | {
            "nnUNet_extTrainer": os.pathsep.join(map(str, (own, folder()))),
            "PYTHONPATH": os.pathsep.join([str(folder()), os.environ.get("PYTHONPATH", "")]),
            "nnUNet_compile": "f", "nnUNet_n_proc_DA": "2", "OMP_NUM_THREADS": "2",
        }
        dataset(base / "raw" / "Dataset001_Balls", cases=10)

        def run(*words: str) -> None:
            subprocess.run([str(Path(sys.executable).with_name(words[0])), *words[1:]], env=environment, check=True)

        run("nnUNetv2_plan_and_preprocess", "-d", "1", "-c", "3d_fullres", "-np", "1", "-npfp", "1")
        model = ["-c", "3d_fullres", "-tr", f"{trainer}Short", "-f", "0"]
        run("nnUNetv2_train", "1", "3d_fullres", "0", "-tr", f"{trainer}Short", "-device", "cpu")
        images, predictions = str(base / "raw" / "Dataset001_Balls" / "imagesTr"), str(base / "predictions")
        run("nnUNetv2_predict", "-i", images, "-o", predictions, "-d", "1", *model, "-device", "cpu", "-npp", "1", "-nps", "1",
            "--save_probabilities", "--disable_tta", "-chk", "checkpoint_final.pth")
        labels = base / "raw" / "Dataset001_Balls" / "labelsTr"
        found = evaluate(probabilities=predictions, labels=labels, out=base / "evaluation")
        print(json.dumps({"cases": len(found["cases"]), "ece": found["mean"]["regions"]["all"]["ece"]}))


if __name__ == "__main__":
    main()
