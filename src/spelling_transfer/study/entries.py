"""What a search space is made of: settings with listed values, ranges or multiples, and what must not be combined."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from spelling_transfer.frozen import FrozenModel
from spelling_transfer.study.config import meant, setting_names

Value = bool | int | float | str
"""What one setting can be; several names, such as layers, are one string with commas."""


class _Entry(FrozenModel):
    when: dict[str, tuple[Value, ...]] = Field(
        default_factory=dict, description="Searched only where these settings have one of these values."
    )
    source: str = Field("", description="Where the values come from.")

    def parameter(self, name: str) -> str:
        """Returns the name under which a sampler knows what it draws for this setting."""
        return name

    def settle(self, drawn: Value, choices: dict[str, Any]) -> Any:
        """Returns the setting's value from what was drawn.

        Args:
            drawn: What was drawn.
            choices: Values of the settings that come before.
        """
        return drawn

    def needs(self) -> set[str]:
        """Returns the settings that must be known before this one."""
        return set(self.when)

    def grid(self) -> list[Value]:
        """Returns what a grid draws for this setting."""
        raise NotImplementedError


class _Listed(_Entry):
    """An entry that lists what may be drawn."""

    @model_validator(mode="after")
    def _distinct(self) -> _Listed:
        listed = self.grid()
        if len({(type(value), value) for value in listed}) < len(listed):
            raise ValueError(f"values {listed} name one twice")
        return self

    def at(self, share: float) -> Value:
        """Returns what is below a share of all draws; a uniform share in [0, 1) is a random draw."""
        listed = self.grid()
        return listed[int(share * len(listed))]


class Candidates(_Listed):
    """A setting with listed values."""

    values: tuple[Value, ...] = Field(min_length=1, description="The values.")

    def grid(self) -> list[Value]:
        """Returns the values that a grid takes."""
        return list(self.values)


class Ratio(_Listed):
    """A setting that is a multiple of another one, as LoRA's alpha is of its rank."""

    follows: str = Field(description="Dotted name of the other setting.")
    ratios: tuple[float, ...] = Field(min_length=1, description="Factors.")

    def parameter(self, name: str) -> str:
        """Returns the name of the factor."""
        return f"{name} / {self.follows}"

    def settle(self, drawn: Value, choices: dict[str, Any]) -> Any:
        """Returns the factor times the other setting."""
        return float(drawn) * choices[self.follows]

    def needs(self) -> set[str]:
        """Returns the settings that must be known before this one."""
        return {*self.when, self.follows}

    def grid(self) -> list[Value]:
        """Returns the factors that a grid takes."""
        return list(self.ratios)


class Range(_Entry):
    """A setting with a lowest and a highest value, both included."""

    low: int | float = Field(description="Lowest value.")
    high: int | float = Field(description="Highest value.")
    log: bool = Field(False, description="Draw on the logarithm's scale.")
    step: int | float | None = Field(None, gt=0, description="Distance between values.")
    points: int = Field(4, ge=2, le=1000, description="Values that a grid takes of it, where it has no step.")

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"low {self.low} and high {self.high} must be finite")
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a log range starts above 0 and takes no step")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(f"step {self.step} leads beyond high {self.high}")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return all(isinstance(each, int) for each in (self.low, self.high, self.step or 1))

    def grid(self) -> list[Value]:
        """Returns the values that a grid takes: each step, or ``points`` values at even distances."""
        if self.step is not None:
            count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
            return [self._typed(self.low + i * self.step) for i in range(count)]
        spread = np.geomspace if self.log else np.linspace
        values = [self._typed(float(value)) for value in spread(self.low, self.high, self.points)]
        return list(dict.fromkeys([self.low, *values[1:-1], self.high]))

    def at(self, share: float) -> Value:
        """Returns the value below which a share of all draws lies."""
        if self.step is not None:
            values = self.grid()
            return values[int(share * len(values))]
        # Whole numbers: half a step beyond either end, so that the ends are as likely as the rest.
        margin = 0.5 if self.is_whole else 0.0
        low, high = self.low - margin, self.high + margin
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return self._typed(min(max(value, self.low), self.high))

    def _typed(self, value: float) -> Value:
        return round(value) if self.is_whole else float(value)


Entry = Candidates | Ratio | Range


class _Constraint(FrozenModel):
    names: tuple[str, ...] = Field(description="Dotted names of the settings that take part.")
    reason: str = Field("", description="Why; shown where a value is refused.")

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = setting_names()
        for name in names:
            if name not in known:
                raise ValueError(f"{name}: no such setting of a trial{meant(name, known)}")
        return names

    def _explained(self, text: str) -> str:
        return f"{text} ({self.reason})" if self.reason else text


class ProductBounds(_Constraint):
    """The product of some settings lies between bounds, such as batch size times accumulation."""

    names: tuple[str, ...] = Field(alias="product", min_length=1, description="Dotted names of settings.")
    at_least: float | None = Field(None, description="Lowest product.")
    at_most: float | None = Field(None, description="Highest product.")

    @model_validator(mode="after")
    def _some_bound(self) -> ProductBounds:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a product needs at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is above at_most {self.at_most:g}")
        return self

    def holds(self, value: Callable[[str], Any]) -> bool:
        """Tells whether a configuration obeys, given the value of each setting by name."""
        product: float = math.prod(value(name) for name in self.names)
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= product <= high

    def __str__(self) -> str:
        text = " x ".join(self.names)
        text = text if self.at_least is None else f"{self.at_least:g} <= {text}"
        return self._explained(text if self.at_most is None else f"{text} <= {self.at_most:g}")


class Increasing(_Constraint):
    """Each setting is at most the next one, such as the steps of the warm-up and all steps."""

    names: tuple[str, ...] = Field(alias="increasing", min_length=2, description="Dotted names of settings.")

    def holds(self, value: Callable[[str], Any]) -> bool:
        """Tells whether a configuration obeys, given the value of each setting by name."""
        values = [value(name) for name in self.names]
        return all(low <= high for low, high in pairwise(values))

    def __str__(self) -> str:
        return self._explained(" <= ".join(self.names))


Constraint = ProductBounds | Increasing
