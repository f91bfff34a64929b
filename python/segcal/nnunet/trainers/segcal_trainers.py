"""nnU-Net's trainer with the cross-entropy term of its loss replaced; everything else, including Dice, is unchanged."""

from typing import Any, ClassVar

import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

from segcal.torch import MEEP, NACL, SVLS, CRaC, MbLS


class _SegcalTrainer(nnUNetTrainer):
    """Dice plus a loss of segcal."""

    parameters_by_name: ClassVar[dict[str, Any]] = {}

    def _make(self, **options: Any) -> nn.Module:
        """Creates the loss; ``options`` contains the label to ignore."""
        raise NotImplementedError

    def _build_loss(self) -> nn.Module:
        if self.label_manager.has_regions:
            raise RuntimeError("these losses need mutually exclusive classes, but the labels of the data set are regions")
        loss = super()._build_loss()
        compound = loss.loss if isinstance(loss, DeepSupervisionWrapper) else loss
        compound.ce = self._make(ignore_index=self.label_manager.ignore_label, **self.parameters_by_name).to(self.device)
        return loss


class nnUNetTrainerNACL(_SegcalTrainer):  # noqa: N801
    """Dice + NACL (Murugesan et al. 2023), ``lambda = 0.1``, mean prior of 3 x 3 (x 3)."""

    def _make(self, **options: Any) -> nn.Module:
        return NACL(**options)


class nnUNetTrainerMbLS(_SegcalTrainer):  # noqa: N801
    """Dice + MbLS (Murugesan et al. 2023), margin 10, ``lambda = 0.1``."""

    def _make(self, **options: Any) -> nn.Module:
        return MbLS(**options)


class nnUNetTrainerMEEP(_SegcalTrainer):  # noqa: N801
    """Dice + cross entropy - 0.3 entropy on misclassified voxels (Larrazabal et al. 2023)."""

    parameters_by_name: ClassVar[dict[str, Any]] = {"convention": "paper"}

    def _make(self, **options: Any) -> nn.Module:
        return MEEP(**options)


class nnUNetTrainerSVLS(_SegcalTrainer):  # noqa: N801
    """Dice + cross entropy with labels blurred by a Gaussian (Islam and Glocker 2021)."""

    def _make(self, **options: Any) -> nn.Module:
        return SVLS(**options)


class _Watching(CRaC):
    """CRaC that can also observe the next batch: with deep supervision, its first output, at full resolution."""

    watching = False

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.watching:
            self.watching = False
            self.observe(logits, labels)
        return super().forward(logits, labels)


class nnUNetTrainerCRaC(_SegcalTrainer):  # noqa: N801
    """Dice + CRaC (Murugesan et al. 2024). The multipliers are updated after nnU-Net's validation and saved in checkpoints."""

    def _make(self, **options: Any) -> nn.Module:
        self._crac = _Watching(self.label_manager.num_segmentation_heads, **options)
        return self._crac

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        self._crac.watching = True
        return super().validation_step(batch)

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        super().on_validation_epoch_end(val_outputs)
        self._crac.end_epoch()

    def save_checkpoint(self, filename: str) -> None:
        super().save_checkpoint(filename)
        if self.local_rank == 0 and not self.disable_checkpointing:
            checkpoint = torch.load(filename, map_location="cpu", weights_only=False)
            torch.save(checkpoint | {"segcal_loss": self._crac.state_dict()}, filename)

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        super().load_checkpoint(filename_or_checkpoint)
        checkpoint = filename_or_checkpoint
        if isinstance(checkpoint, str):
            checkpoint = torch.load(checkpoint, map_location=self.device, weights_only=False)
        if "segcal_loss" in checkpoint:
            self._crac.load_state_dict(checkpoint["segcal_loss"])
