"""Losses for training in PyTorch, and the calculators as PyTorch modules.

``NACL``, ``MbLS``, ``CRaC``, ``MEEP``, ``SVLS``, ``ECP``, ``Focal``, ``LabelSmoothing`` and ``MeanL1ACE`` are pure PyTorch:
they run on any device, compile, and compute in at least 32 bits under autocast. ``Calculator`` is any loss of
``segcal.losses`` on CPU tensors: slower, and the reference with which the others agree, in value and gradient, to 1e-5.
``CalibrationMetric`` accumulates calibration over a validation set in integers.

Logits are ``(B, C, *spatial)``, labels ``(B, *spatial)`` with class numbers from 0 (or ``ignore_index``). Parameters are those
of ``segcal.losses.LOSSES``, with the papers' names; ``lambda_`` stands for ``lambda``.

>>> import torch
>>> from segcal.torch import NACL
>>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
>>> loss = NACL(lambda_=0.1)(logits, torch.zeros(1, 4, 4, dtype=torch.long))
>>> loss.backward()
>>> logits.grad.shape
torch.Size([1, 2, 4, 4])
"""

from segcal.torch._constrained import CRaC
from segcal.torch._losses import ECP, MEEP, NACL, SVLS, Focal, LabelSmoothing, MbLS, MeanL1ACE
from segcal.torch._calculator import Calculator
from segcal.torch._metric import CalibrationMetric

__all__ = [
    "Calculator",
    "CRaC",
    "CalibrationMetric",
    "ECP",
    "Focal",
    "LabelSmoothing",
    "MEEP",
    "MbLS",
    "MeanL1ACE",
    "NACL",
    "SVLS",
]
