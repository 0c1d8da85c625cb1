"""Constraints between settings of a trial: what a search must not combine."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from spelling_transfer.study.config import meant, setting_names


class _Constraint(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = Field("", description="Why; shown where a value is refused.")

    def _explained(self, text: str) -> str:
        return f"{text} ({self.reason})" if self.reason else text


class ProductBounds(_Constraint):
    """The product of some settings lies between bounds, such as batch size times accumulation."""

    product: tuple[str, ...] = Field(min_length=1, description="Dotted names of settings.")
    at_least: float | None = Field(None, description="Lowest product.")
    at_most: float | None = Field(None, description="Highest product.")

    @model_validator(mode="after")
    def _some_bound(self) -> ProductBounds:
        _check_names(self.product)
        if self.at_least is None and self.at_most is None:
            raise ValueError("a product needs at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is above at_most {self.at_most:g}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that take part."""
        return self.product

    def holds(self, value: Callable[[str], Any]) -> bool:
        """Tells whether a configuration obeys, given the value of each setting by name."""
        product: float = math.prod(value(name) for name in self.product)
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= product <= high

    def __str__(self) -> str:
        text = " x ".join(self.product)
        text = text if self.at_least is None else f"{self.at_least:g} <= {text}"
        return self._explained(text if self.at_most is None else f"{text} <= {self.at_most:g}")


class Increasing(_Constraint):
    """Each setting is at most the next one, such as the steps of the warm-up and all steps."""

    increasing: tuple[str, ...] = Field(min_length=2, description="Dotted names of settings.")

    @model_validator(mode="after")
    def _known(self) -> Increasing:
        _check_names(self.increasing)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that take part."""
        return self.increasing

    def holds(self, value: Callable[[str], Any]) -> bool:
        """Tells whether a configuration obeys, given the value of each setting by name."""
        values = [value(name) for name in self.increasing]
        return all(low <= high for low, high in pairwise(values))

    def __str__(self) -> str:
        return self._explained(" <= ".join(self.increasing))


class FitsMemory(_Constraint):
    """What runs side by side fits the memory of the study's machine.

    It depends on the model and the machine, which a space does not know: ``study.estimates`` turns it into a bound of
    the batch size before a study begins.
    """

    fits_memory: Literal[True]

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that take part."""
        return ("training.batch_size",)

    def holds(self, value: Callable[[str], Any]) -> bool:
        """Holds: it has to be turned into a bound first."""
        return True

    def __str__(self) -> str:
        return self._explained("training.batch_size fits the memory of the machine")


Constraint = ProductBounds | Increasing | FitsMemory

_KINDS: dict[str, type[_Constraint]] = {"product": ProductBounds, "increasing": Increasing, "fits_memory": FitsMemory}


def read_constraint(entry: Any) -> Constraint:
    """Reads one constraint.

    Raises:
        ValueError: It is none; pydantic's error is one of these.
    """
    kinds = [kind for name, kind in _KINDS.items() if isinstance(entry, dict) and name in entry]
    if len(kinds) != 1:
        raise ValueError(f"{entry!r} is not a constraint: it needs one of {', '.join(_KINDS)}")
    return kinds[0].model_validate(entry)  # type: ignore[return-value]


def _check_names(names: tuple[str, ...]) -> None:
    known = setting_names()
    for name in names:
        if name not in known:
            raise ValueError(f"{name}: no such setting of a trial{meant(name, known)}")
