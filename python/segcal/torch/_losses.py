"""Losses in pure PyTorch. Each computes the formula of the calculator of the same name, which documents it."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from segcal.torch import _priors as priors
from segcal.torch._pixels import Pixelwise, at_least_single, check, cross_entropy, one_hot

__all__ = ["ECP", "MEEP", "NACL", "SVLS", "Focal", "LabelSmoothing", "MbLS", "MeanL1ACE"]


class NACL(Pixelwise):
    """Neighbour-aware calibration: ``CE + lambda mean_k P(tau_k - l_k)`` with a prior ``tau`` from the label patch
    (NACL, Murugesan et al. 2023, Eq. 7; the sum over classes with ``convention="paper"``).

    Parameters: those of ``LOSSES["nacl"]``; the priors are ``mean, gaussian, max, min, median, mode``.
    """

    name = "nacl"

    def __init__(self, *, convention: str = "authors", **parameters: Any) -> None:
        super().__init__(convention=convention, **parameters)
        if self.parameter("prior") not in priors.PRIORS:
            known = ", ".join(priors.PRIORS)
            raise ValueError(f"prior: {self.parameter('prior')!r} needs an image: choose one of {known}, or use Calculator")

    def of_pixels(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        log_s = log_softmax(logits, 1)
        pulled = log_s.exp() if self.parameter("on") == "softmax" else logits
        gap = self._prior(labels, logits) - pulled
        penalty = gap.square() if self.parameter("penalty") == "l2" else gap.abs()
        penalty = penalty.sum(1) if self.printed else penalty.mean(1)
        return cross_entropy(log_s, known) + self.parameter("lambda") * penalty

    def _prior(self, labels: Tensor, logits: Tensor) -> Tensor:
        which, patch = self.parameter("prior"), int(self.parameter("patch"))
        classes, dtype = logits.shape[1], logits.dtype
        if which == "gaussian":
            return priors.gaussian(labels, classes, patch, self.parameter("sigma"), self.printed, dtype)
        if which == "mean":
            share = priors.mean(labels, classes, patch, self.printed, dtype)
            return share if self.parameter("normalise") else share * priors.patch_size(patch, tuple(labels.shape[1:]))
        return priors.ranked(labels, classes, patch, which, self.printed, dtype)


class MbLS(Pixelwise):
    """Margin-based label smoothing: ``CE + lambda mean_k P(max_j l_j - l_k - margin)`` (MbLS, Murugesan et al. 2023, Eq. 7;
    the sum over classes with ``convention="paper"``). Parameters: those of ``LOSSES["mbls"]``."""

    name = "mbls"

    def of_pixels(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        above = logits.amax(1, keepdim=True) - logits - self.parameter("margin")
        penalty = self.parameter("penalty")
        excess = above.square() if penalty == "l2-unhinged" else above.relu()
        excess = excess.square() if penalty == "l2" else excess
        excess = excess.sum(1) if self.printed else excess.mean(1)
        return cross_entropy(log_softmax(logits, 1), known) + self.parameter("lambda") * excess


class ECP(Pixelwise):
    """Explicit confidence penalty: ``CE - lambda H(s)`` (Pereyra et al. 2017; MbLS, Sec. 4.2). ``authors`` takes the mean over
    the classes of the clamped entropy, ``paper`` the Shannon entropy. Parameters: those of ``LOSSES["ecp"]``."""

    name = "ecp"

    def of_pixels(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        log_s = log_softmax(logits, 1)
        if self.printed:
            entropy = -(log_s.exp() * log_s).sum(1)
        else:
            log_p = log_s.clamp(math.log(1e-10), math.log(1 - 1e-10))
            entropy = -(log_p.exp() * log_p).mean(1)
        return cross_entropy(log_s, known) - self.parameter("lambda") * entropy


class Focal(Pixelwise):
    """Focal loss ``-(1 - s_y)^gamma log s_y`` (Lin et al. 2017). Parameters: those of ``LOSSES["focal"]``."""

    name = "focal"

    def of_pixels(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        minus_log = cross_entropy(log_softmax(logits, 1), known)
        s_y = (-minus_log).exp()
        doubt = (1 - s_y).clamp_min(torch.finfo(torch.float32).tiny)
        gamma = torch.full_like(s_y, self.parameter("gamma"))
        if self.parameter("schedule") == "flsd53":
            gamma = torch.where(s_y < 0.2, 5.0, torch.where(s_y < 0.5, 3.0, gamma))
        return doubt.pow(gamma.detach()) * minus_log


class LabelSmoothing(Pixelwise):
    """Cross entropy with ``alpha`` of each label spread over all classes. Parameters: those of
    ``LOSSES["label-smoothing"]``."""

    name = "label-smoothing"

    def of_pixels(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        alpha, log_s = self.parameter("alpha"), log_softmax(logits, 1)
        return (1 - alpha) * cross_entropy(log_s, known) - alpha * log_s.mean(1)


class SVLS(Pixelwise):
    """Spatially varying label smoothing: cross entropy with labels blurred by a Gaussian (Islam and Glocker 2021). Parameters:
    those of ``LOSSES["svls"]``."""

    name = "svls"

    def of_pixels(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        patch, sigma = int(self.parameter("patch")), self.parameter("sigma")
        blurred = priors.gaussian(labels, logits.shape[1], patch, sigma, self.printed, logits.dtype)
        return -(blurred * log_softmax(logits, 1)).sum(1)


class MEEP(Pixelwise):
    """Maximum entropy on misclassified pixels: a segmentation loss ``- lambda H`` or ``+ lambda KL(u || s)`` over the pixels whose
    prediction differs from the label (MEEP, Larrazabal et al. 2023, Eq. 1 and 2). ``authors`` is the binary form of the public
    code. Parameters: those of ``LOSSES["meep"]``."""

    name = "meep"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        check(logits, labels)
        logits = at_least_single(logits)
        kept = self.kept(labels, logits.dtype)
        known = torch.where(kept > 0, labels, 0).long()
        wrong = kept * (logits.argmax(1) != known)
        chosen = wrong if self.parameter("pixels") == "wrong" else kept
        least = 0 if self.parameter("empty") == "nan" else 1
        log_s = log_softmax(logits, 1)
        regularizer = (self._regularizer(log_s) * chosen / chosen.sum().clamp_min(least)).sum()
        base = self._dice(log_s, known, kept) if self.parameter("base") == "dice" else self._entropy(log_s, known, kept)
        towards_uniform = 1 if self.printed and self.parameter("regularizer") == "kl" else -1
        return base + towards_uniform * self.parameter("lambda") * regularizer

    def _regularizer(self, log_s: Tensor) -> Tensor:
        """The regularizer of each pixel."""
        s, divergence = log_s.exp(), self.parameter("regularizer") == "kl"
        if self.printed:
            return -log_s.mean(1) - math.log(log_s.shape[1]) if divergence else -(s * log_s).sum(1)
        return s.clamp_min(1e-7).log().mean(1) if divergence else _binary_cross_entropy(s, s).mean(1)

    def _entropy(self, log_s: Tensor, known: Tensor, kept: Tensor) -> Tensor:
        """Cross entropy, averaged over the pixels that are not ignored."""
        if self.printed:
            of_pixels = cross_entropy(log_s, known)
        else:
            of_pixels = _binary_cross_entropy(one_hot(known, log_s.shape[1], log_s.dtype), log_s.exp()).mean(1)
        return (of_pixels * kept / kept.sum().clamp_min(1)).sum()

    def _dice(self, log_s: Tensor, known: Tensor, kept: Tensor) -> Tensor:
        """Soft Dice over the batch; ``authors``: for channel 1, ``paper``: the mean over the foreground classes."""
        last = log_s.shape[1] if self.printed else 2
        truth = (one_hot(known, log_s.shape[1], log_s.dtype) * kept.unsqueeze(1))[:, 1:last]
        s = (log_s.exp() * kept.unsqueeze(1))[:, 1:last]
        over = [axis for axis in range(s.dim()) if axis != 1]
        predicted = s.square() if self.parameter("denominator") == "squared" else s
        fraction = (2 * (s * truth).sum(over) + 1e-7) / (predicted.sum(over) + truth.sum(over) + 1e-7)
        return 1 - fraction.mean()


def _binary_cross_entropy(target: Tensor, s: Tensor) -> Tensor:
    """Binary cross entropy with the clamps of the authors' library. ``1 - s`` is computed as the sum of the other classes'
    shares: in 32 bits the difference would lose all digits if a class is nearly certain."""
    none = torch.zeros_like(s[:, :1])
    below = torch.cat([none, s[:, :-1].cumsum(1)], 1)
    above = torch.cat([s[:, 1:].flip(1).cumsum(1).flip(1), none], 1)
    others = below + above
    p, q = s.clamp(1e-7, 1 - 1e-7), others.clamp(1e-7, 1 - 1e-7)
    return -(target * (p + 1e-7).log() + (1 - target) * (q + 1e-7).log())


class MeanL1ACE(Pixelwise):
    """Average calibration error as a loss: the mean over samples and classes of the mean over occupied bins of
    ``|conf - freq|`` (Barfoot et al. 2024). To be added to a segmentation loss. Parameters: those of
    ``LOSSES["ace-l1"]``."""

    name = "ace-l1"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        check(logits, labels)
        s = log_softmax(at_least_single(logits), 1).exp()
        kept = self.kept(labels, s.dtype).unsqueeze(1)
        gap = (s - one_hot(labels, s.shape[1], s.dtype)) * kept
        bins, soft = int(self.parameter("bins")), self.parameter("binning") == "soft"
        scaled = s * bins - (0.5 if soft else 0.0)
        lower = scaled.detach().floor().clamp(0, bins - (2 if soft else 1))
        upper = (scaled - lower).clamp(0, 1) if soft else torch.zeros_like(s)
        gaps, counts = s.new_zeros(2, *s.shape[:2], bins).unbind(0)
        for side, share in enumerate([1 - upper, upper] if soft else [torch.ones_like(s)]):
            place = (lower + side).long().flatten(2)
            gaps = gaps.scatter_add(2, place, (gap * share).flatten(2))
            counts = counts.scatter_add(2, place, (kept * share).flatten(2))
        return self._mean(gaps, counts)

    def _mean(self, gaps: Tensor, counts: Tensor) -> Tensor:
        """Mean over samples and classes of the mean over the bins that contain more than a thousandth of a pixel."""
        occupied = counts.detach() > 1e-3
        of_bins = torch.where(occupied, gaps.abs() / counts.clamp_min(1e-3), 0)
        of_classes = of_bins.sum(2) / occupied.sum(2).clamp_min(1)
        return of_classes[:, 0 if self.parameter("include_background") else 1 :].mean()
