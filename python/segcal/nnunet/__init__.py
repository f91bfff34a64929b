"""Trainers for nnU-Net with the losses of ``segcal.torch``.

nnU-Net finds trainers in the folders listed in the environment variable ``nnUNet_extTrainer``; ``folder`` returns the one in
this package::

    export nnUNet_extTrainer="$(python -m segcal.nnunet)"
    nnUNetv2_train DATASET 2d 0 -tr nnUNetTrainerNACL

The trainers are ``nnUNetTrainerNACL``, ``nnUNetTrainerMbLS``, ``nnUNetTrainerCRaC``, ``nnUNetTrainerMEEP`` and
``nnUNetTrainerSVLS``.

>>> folder().name
'trainers'
"""

from pathlib import Path

__all__ = ["folder"]


def folder() -> Path:
    """Returns the folder of the trainers, for ``nnUNet_extTrainer``."""
    return Path(__file__).parent / "trainers"
