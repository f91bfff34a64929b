"""Code shared by the losses: precision, pixel weights, and parameters checked by the calculators."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from segcal.losses import Loss


def at_least_single(logits: Tensor) -> Tensor:
    """Converts narrower logits to 32 bits, which sums over classes and pixels need under autocast."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """``(B, classes, *spatial)``; a label that is not a class gives zeros."""
    shape = [1, classes] + [1] * (labels.dim() - 1)
    return (labels.unsqueeze(1) == torch.arange(classes, device=labels.device).view(shape)).to(dtype)


def check(logits: Tensor, labels: Tensor) -> None:
    """Raises ``ValueError`` unless the shapes form a batch."""
    if logits.dim() not in (4, 5):
        raise ValueError(f"logits: expected (B, C, H, W) or (B, C, D, H, W), got {tuple(logits.shape)}")
    wanted = (logits.shape[0], *logits.shape[2:])
    if tuple(labels.shape) != wanted:
        raise ValueError(f"labels: expected {wanted} for logits {tuple(logits.shape)}, got {tuple(labels.shape)}")


class Pixelwise(nn.Module):
    """A loss ``sum over pixels of share * f(pixel)``; ``name`` is the calculator's, which checks the parameters.

    ``share`` is ``w / sum w`` for the mean (``w`` the class weight of the label, 0 where the label is ignored) and ``w`` for
    the sum.
    """

    name: ClassVar[str]

    def __init__(self, *, convention: str = "authors", **parameters: Any) -> None:
        super().__init__()
        self.parameters_by_name: dict[str, Any] = Loss(self.name, convention=convention, **parameters).parameters
        self.convention = convention

    def parameter(self, name: str) -> Any:
        """A parameter by the calculators' name."""
        return self.parameters_by_name[name]

    def extra_repr(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.parameters_by_name.items())
        return f"convention={self.convention}, {given}"

    @property
    def printed(self) -> bool:
        """Whether the formula is the one printed in the paper."""
        return self.convention == "paper"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits ``(B, C, *spatial)`` with labels ``(B, *spatial)``: a scalar."""
        check(logits, labels)
        logits = at_least_single(logits)
        kept = self.kept(labels, logits.dtype)
        known = torch.where(kept > 0, labels, 0).long()
        share = self.share(known, kept)
        return (share * self.of_pixels(logits, labels.long(), known)).sum()

    def kept(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """1 for pixels that count, 0 for ignored ones."""
        ignored = self.parameter("ignore_index")
        return torch.ones_like(labels, dtype=dtype) if ignored is None else (labels != int(ignored)).to(dtype)

    def share(self, known: Tensor, kept: Tensor) -> Tensor:
        """The weight of each pixel; ``known`` are the labels, with ignored ones replaced by a class."""
        weights = self.parameters_by_name.get("class_weights")
        if weights is not None:
            kept = kept * torch.tensor(weights, dtype=kept.dtype, device=kept.device)[known]
        if self.parameters_by_name.get("reduction") == "sum":
            return kept
        return kept / kept.sum().clamp_min(torch.finfo(torch.float32).tiny)

    def of_pixels(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        """The loss of each pixel, ``(B, *spatial)``."""
        raise NotImplementedError


def cross_entropy(log_s: Tensor, known: Tensor) -> Tensor:
    """``-log s_y`` of each pixel."""
    return -log_s.gather(1, known.unsqueeze(1)).squeeze(1)
