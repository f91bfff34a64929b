"""CRaC: adaptive constraints on the logits, with the outer loop that updates its multipliers."""

from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor
from torch.nn.functional import log_softmax

from segcal.torch import _priors as priors
from segcal.torch._pixels import Pixelwise, at_least_single, check, cross_entropy

__all__ = ["CRaC"]

OUTER, INNER = 0, 1


class CRaC(Pixelwise):
    """Class and region-wise adaptive constraints: ``CE + sum_k P(h_k, rho_kr, lambda_kr)`` with multipliers per class and
    region (CRaC, Murugesan et al. 2024, Eq. 7 to 10).

    In training, call it like any loss. In validation, call ``observe`` on every batch and, at the end of the epoch,
    ``end_epoch``. Multipliers are buffers, so checkpoints contain them; under ``torch.distributed`` the observations of all
    ranks are summed.

    Args:
        classes: Number of classes.
        parameters: Those of ``LOSSES["crac"]``; only the calculators have the region test ``rounding``.

    >>> loss = CRaC(2, margin=5)
    >>> logits, labels = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    >>> loss.observe(logits, labels)
    >>> loss.end_epoch()
    >>> loss.multipliers.shape
    torch.Size([2, 4])
    """

    name = "crac"
    multipliers: Tensor
    previous: Tensor
    epochs: Tensor

    def __init__(self, classes: int, *, convention: str = "authors", **parameters: Any) -> None:
        super().__init__(convention=convention, **parameters)
        if self.parameter("region") != "exact":
            raise ValueError(f"region: {self.parameter('region')!r} is supported only by Calculator: choose 'exact'")
        self.classes = classes
        # Index of the multiplier for a class in a region: the outer ones of all classes, then the inner ones.
        layout, class_numbers = self.parameter("multipliers"), range(classes)
        entries = {
            "class-region": [list(class_numbers), [classes + k for k in class_numbers]],
            "class": [list(class_numbers)] * 2,
            "region": [[OUTER] * classes, [INNER] * classes],
            "scalar": [[0] * classes] * 2,
        }[layout]
        self.has_regions = layout in ("class-region", "region")
        self.register_buffer("entries", torch.tensor(entries), persistent=False)
        count = max(max(row) for row in entries) + 1
        start = [torch.tensor(self.parameter(name), dtype=torch.float32).expand(count) for name in ("lambda", "rho")]
        # Multipliers first, then penalty parameters.
        self.register_buffer("multipliers", torch.stack(start))
        self.register_buffer("previous", torch.full((count,), torch.nan))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.long))
        # Sums over the validation pixels for each multiplier: slopes, constraints, counts.
        self._observed: Tensor | None = None

    def of_pixels(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        h, outer = self._distance(logits, labels)
        lambda_, rho = (torch.where(outer, *self._of_classes(values, logits)) for values in self.multipliers)
        penalty = _penalty(self.parameter("penalty"), h, rho, lambda_).sum(1)
        regions = 2 if self.has_regions else 1
        share = 1.0 if self.printed else 1 / (regions * self.classes)
        return cross_entropy(log_softmax(logits, 1), known) + share * penalty

    def _of_classes(self, values: Tensor, logits: Tensor) -> list[Tensor]:
        """Values of the multipliers in the outer and the inner region, shaped to broadcast with logits."""
        shape = [1, self.classes] + [1] * (logits.dim() - 2)
        return [values.to(logits)[entries].view(shape) for entries in self.entries]

    def _distance(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The constraint ``h``, and whether a pixel's label patch contains several classes."""
        if logits.shape[1] != self.classes:
            raise ValueError(f"logits: {logits.shape[1]} classes, but the loss was created for {self.classes}")
        extents = priors.patch_extents(int(self.parameter("patch")), tuple(labels.shape[1:]))
        seen = priors.taps(labels, extents, self.printed)
        weight = 1 / len(seen) if self.parameter("normalise") else 1.0
        prior = priors.filtered(self.classes, [weight] * len(seen), seen, logits.dtype)
        smallest = largest = seen[0]
        for label in seen[1:]:
            smallest, largest = torch.minimum(smallest, label), torch.maximum(largest, label)
        outer = (smallest < largest).unsqueeze(1)
        inside = self.parameter("margin") * prior
        target = torch.where(outer, prior, inside) if self.has_regions else inside
        constraint = self.parameter("constraint")
        if constraint == "abs":
            return (target - logits).abs(), outer
        return ((logits - target).relu() if constraint == "max" else target - logits), outer

    @torch.no_grad()
    def observe(self, logits: Tensor, labels: Tensor) -> None:
        """Accumulates statistics of a validation batch."""
        check(logits, labels)
        logits, labels = at_least_single(logits), labels.long()
        kept = self.kept(labels, logits.dtype).unsqueeze(1)
        h, outer = self._distance(logits, labels)
        observed = torch.zeros(3, self.multipliers.shape[1], dtype=torch.float64, device="cpu")
        of_classes = [self._of_classes(values, logits) for values in self.multipliers]
        for region, member in enumerate([outer, ~outer]):
            parts = self._statistics(h, member.to(h), *(values[region] for values in of_classes))
            over = [axis for axis in range(h.dim()) if axis != 1]
            sums = torch.stack([(part * kept).expand_as(h).sum(over) for part in parts]).double().cpu()
            observed.index_add_(1, self.entries[region].cpu(), sums)
        self._observed = observed if self._observed is None else self._observed + observed

    def _statistics(self, h: Tensor, member: Tensor, lambda_: Tensor, rho: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Clamped slope, constraint and count of the pixels of a region."""
        low, high = self.parameter("lambda_min"), self.parameter("lambda_max")
        measure = member * (h.abs() if self.parameter("constraint") == "signed" else h)
        # The public code averages over all pixels, a pixel counting 0 in the other region.
        everywhere = self.has_regions and not self.printed
        z = member * h if everywhere else h
        slope = _slope(self.parameter("penalty"), z, rho, lambda_).clamp(low, high)
        return (slope, measure, torch.ones_like(member)) if everywhere else (member * slope, measure, member)

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Moves the multipliers (Eq. 8) and, every ``rho_every`` epochs, the penalty parameters (Eq. 9)."""
        observed, self._observed = self._observed, None
        self.epochs += 1
        if distributed.is_available() and distributed.is_initialized():
            observed = self._of_all_ranks(observed)
        if observed is None or not observed[2].any():
            return
        slope, constraint, count = observed
        mean = constraint / count.clamp_min(1)
        lambda_, rho = self.multipliers.double().cpu()
        moved = (slope / count).clamp(self.parameter("lambda_min"), self.parameter("lambda_max"))
        lambda_ = torch.where(count == 0, lambda_, moved)
        previous = self.previous.double().cpu()
        if int(self.epochs) % int(self.parameter("rho_every")) == 0 and not previous.isnan().any():
            grows = mean > self.parameter("mu") * previous.clamp_min(0)
            rho = torch.where(grows, rho * self.parameter("gamma"), rho)
            rho = rho.clamp(self.parameter("rho_min"), self.parameter("rho_max"))
        self.multipliers.copy_(torch.stack([lambda_, rho]))
        self.previous.copy_(mean)

    def _of_all_ranks(self, observed: Tensor | None) -> Tensor:
        """The sum over the ranks, in the widest type that the device has."""
        device = self.multipliers.device
        zeros = torch.zeros(3, self.multipliers.shape[1], dtype=torch.float64)
        total = (zeros if observed is None else observed).to(device)
        distributed.all_reduce(total)
        return total.cpu()


def _penalty(which: str, z: Tensor, rho: Tensor, lambda_: Tensor) -> Tensor:
    """Penalty-Lagrangian functions ``P(z, rho, lambda)`` (CRaC, Eq. 10 and its appendix)."""
    if which == "phr":
        return torch.where(lambda_ + rho * z < 0, -lambda_.square() / (2 * rho), z * (lambda_ + 0.5 * rho * z))
    satisfied = lambda_ * z / (1 - rho * z.clamp_max(0))
    if which == "p2":
        return torch.where(z < 0, satisfied, z * (lambda_ + rho * z * (lambda_ + rho * z / 6)))
    return torch.where(z < 0, satisfied, z * lambda_ * (1 + rho * z))


def _slope(which: str, z: Tensor, rho: Tensor, lambda_: Tensor) -> Tensor:
    """``dP/dz``: the next multiplier."""
    if which == "phr":
        return (lambda_ + rho * z).clamp_min(0)
    satisfied = lambda_ / (1 - rho * z.clamp_max(0)).square()
    if which == "p2":
        return torch.where(z < 0, satisfied, lambda_ + rho * z * (2 * lambda_ + 0.5 * rho * z))
    return torch.where(z < 0, satisfied, lambda_ * (1 + 2 * rho * z))
