"""Prints the folder for ``nnUNet_extTrainer``."""

from segcal.nnunet import folder

print(folder())
