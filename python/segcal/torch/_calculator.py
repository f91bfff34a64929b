"""Any loss of the calculators as a PyTorch module, on CPU tensors."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from segcal.losses import Loss

__all__ = ["Calculator"]


class _Calculate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, loss: Loss, others: dict[str, Any]) -> Tensor:
        value = loss.value(logits.detach(), labels, gradient=True, **others)
        assert value.gradient is not None
        ctx.save_for_backward(torch.from_numpy(value.gradient).to(logits.dtype))
        return logits.new_tensor(value.total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None, None


class Calculator(nn.Module):
    """Any loss of ``segcal.losses`` by name: an oracle for the others and a tool for small problems.

    Args:
        name: As in ``segcal.losses.Loss``, like the other arguments.
        convention: ``authors`` or ``paper``.
        backend: ``reference`` for 64 bits.
        parameters: Parameters of the loss.

    Raises:
        ValueError: A tensor is not on the CPU, or as in ``segcal.losses.Loss``.

    >>> logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    >>> round(Calculator("ce")(logits, torch.zeros(1, 2, 2, dtype=torch.long)).item(), 6)
    0.693147
    """

    def __init__(self, name: str, *, convention: str = "authors", backend: str = "cpu", **parameters: Any) -> None:
        super().__init__()
        self.loss = Loss(name, convention=convention, backend=backend, **parameters)

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        image: Tensor | None = None,
        second: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Returns the loss as a scalar of the logits' type, differentiable once with respect to ``logits``."""
        given = {"image": image, "second": second, "mask": mask}
        others = {name: tensor.detach() for name, tensor in given.items() if tensor is not None}
        return _Calculate.apply(logits, labels, self.loss, others)

    def observe(self, logits: Tensor, labels: Tensor) -> None:
        """See ``segcal.losses.Loss.observe``."""
        self.loss.observe(logits.detach(), labels)

    def end_epoch(self) -> None:
        """See ``segcal.losses.Loss.end_epoch``."""
        self.loss.end_epoch()

    def get_extra_state(self) -> dict[str, list[float]]:
        """The state of the loss, for checkpoints."""
        return self.loss.state

    def set_extra_state(self, state: dict[str, list[float]]) -> None:
        """Restores the state returned by ``get_extra_state``."""
        self.loss.state = state
