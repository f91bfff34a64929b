"""Trainers for nnU-Net with the losses of ``segcal.torch``.

nnU-Net finds trainers in the folders that the environment variable ``nnUNet_extTrainer`` names; ``folder`` is the one of
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
    """The folder of the trainers, for ``nnUNet_extTrainer``."""
    return Path(__file__).parent / "trainers"
