"""Copies in bfloat16 of what is trained, to compute with; the float32 originals keep small updates."""

from __future__ import annotations

from typing import Any

import torch


class ComputeCopies:
    """Puts copies of another type in the place of a model's trained parameters, and the originals back.

    A matrix product of a bfloat16 layer with a float32 adapter casts its input there and back; with copies of the
    layer's own type it casts nothing.

    Args:
        model: The model.
        dtype: Type of the copies; ``None`` makes none, and the parameters are their own.
    """

    def __init__(self, model: Any, dtype: torch.dtype | None) -> None:
        self.model = model
        self.names = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.originals = list(self.names.values())
        self.copies = self.originals
        if dtype is not None:
            self.copies = [torch.nn.Parameter(p.detach().to(dtype)) if p.dtype != dtype else p for p in self.originals]
            self._replace(self.originals, self.copies)

    def refresh(self) -> None:
        """Takes the originals' values over into the copies."""
        if self.copies is not self.originals:
            with torch.no_grad():
                torch._foreach_copy_(self.copies, self.originals)

    def remove(self) -> None:
        """Puts the originals back."""
        self._replace(self.copies, self.originals)
        self.copies = self.originals

    def _replace(self, old: list[torch.nn.Parameter], new: list[torch.nn.Parameter]) -> None:
        of = {id(a): b for a, b in zip(old, new, strict=True)}
        for module in self.model.modules():
            for name, parameter in module._parameters.items():
                if id(parameter) in of:
                    module._parameters[name] = of[id(parameter)]
