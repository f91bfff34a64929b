"""Calibration over a validation set, accumulated in integers."""

from typing import Any

import torch
from torch import Tensor

try:
    from torchmetrics import Metric as _Base
except ImportError:
    _Base = torch.nn.Module

__all__ = ["CalibrationMetric"]

UNIT = 2**40
"""A probability is counted in units of 2^-40, so that sums are exact."""

CHUNK = 2**20
"""Number of pixels per chunk; the sum of their units is far below 64 bits."""


class CalibrationMetric(_Base):
    """Expected calibration error of logits, with ``update``, ``compute`` and ``reset`` as in torchmetrics; it is a
    ``torchmetrics.Metric`` if torchmetrics is installed.

    States are integers, so the bits are the same in whatever order batches, devices and ranks are added. Bins are
    ``(l, u]`` with 0 in the first, as everywhere in segcal.

    Args:
        classes: Number of classes.
        bins: Number of bins of equal width.
        region: ``"all"`` pixels, or ``"foreground"``: those whose label is not 0.
        ignore_index: Pixels with this label are left out.

    >>> metric = CalibrationMetric(2)
    >>> metric.update(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
    >>> round(metric.compute()["ece"].item(), 6)
    0.5
    """

    full_state_update = False

    def __init__(
        self, classes: int, *, bins: int = 15, region: str = "all", ignore_index: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if region not in ("all", "foreground"):
            raise ValueError(f"region: {region!r} is neither 'all' nor 'foreground'")
        if not 1 <= bins <= 1000:
            raise ValueError(f"bins: {bins} is not between 1 and 1000")
        self.classes, self.bins, self.region, self.ignore_index = classes, bins, region, ignore_index
        # Row `classes` is for the largest probability. Counts, hits, and the sum in units as high and low part.
        for name in ("counts", "hits", "high", "low"):
            zeros = torch.zeros(classes + 1, bins, dtype=torch.long)
            if _Base is torch.nn.Module:
                self.register_buffer(name, zeros)
            else:
                self.add_state(name, zeros, dist_reduce_fx="sum")

    @torch.no_grad()
    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch of logits ``(B, C, *spatial)`` with labels ``(B, *spatial)``."""
        if logits.shape[1] != self.classes or labels.shape != logits[:, 0].shape:
            raise ValueError(f"labels {tuple(labels.shape)} do not match logits {tuple(logits.shape)} of {self.classes} classes")
        s = logits.float().softmax(1).movedim(1, 0).flatten(1)
        labels = labels.flatten()
        kept = torch.ones_like(labels, dtype=torch.bool) if self.ignore_index is None else labels != self.ignore_index
        kept = kept & (labels != 0) if self.region == "foreground" else kept
        for start in range(0, labels.numel(), CHUNK):
            inside = kept[start : start + CHUNK]
            self._count(s[:, start : start + CHUNK][:, inside], labels[start : start + CHUNK][inside])

    def _count(self, s: Tensor, labels: Tensor) -> None:
        confidence, prediction = s.max(0)
        values = torch.cat([s, confidence[None]])
        hits = torch.cat([labels == torch.arange(self.classes, device=s.device)[:, None], (prediction == labels)[None]])
        edges = torch.tensor([edge / self.bins for edge in range(1, self.bins)], dtype=torch.float32, device=s.device)
        bin_ = torch.bucketize(values, edges)
        # A product with a power of two is exact, so this rounds once.
        units = (values * UNIT).round().long()
        self.counts.scatter_add_(1, bin_, torch.ones_like(bin_))
        self.hits.scatter_add_(1, bin_, hits.long())
        sums = torch.zeros_like(self.low).scatter_add_(1, bin_, units) + self.low
        self.high += sums // UNIT
        self.low.copy_(sums % UNIT)

    def compute(self) -> dict[str, Tensor]:
        """``ece`` and ``mce`` of the largest probability, ``cece_mean`` (mean over the classes of their one-against-rest error)
        and ``accuracy``; NaN if no pixel was counted."""
        counts, hits, high, low = (state.cpu() for state in (self.counts, self.hits, self.high, self.low))
        total = counts.sum(1, keepdim=True)
        gap = (hits.double() - high.double() - low.double() / UNIT).abs()
        error = (gap / total).sum(1)
        largest = (gap[-1] / counts[-1].clamp_min(1)).max()
        return {
            "ece": error[-1],
            "mce": torch.where(total[-1, 0] == 0, torch.nan, largest),
            "cece_mean": error[:-1].mean(),
            "accuracy": hits[-1].sum().double() / total[-1, 0],
        }

    def reset(self) -> None:
        """Clears the state."""
        if _Base is not torch.nn.Module:
            super().reset()
        else:
            for state in (self.counts, self.hits, self.high, self.low):
                state.zero_()
