"""One setting of a search space: listed values, a range, or a multiple of another setting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Value = bool | int | float | str
"""What one setting can be; several names, such as layers, are one string with commas."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

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


class Candidates(_Entry):
    """A setting with listed values."""

    values: tuple[Value, ...] = Field(min_length=1, description="The values.")

    @model_validator(mode="after")
    def _distinct(self) -> Candidates:
        if len({(type(value), value) for value in self.values}) < len(self.values):
            raise ValueError(f"values {list(self.values)} name one twice")
        return self

    def grid(self) -> list[Value]:
        """Returns the values that a grid takes."""
        return list(self.values)

    def at(self, share: float) -> Value:
        """Returns the value below which a share of all draws lies; a uniform share in [0, 1) is a random draw."""
        return self.values[int(share * len(self.values))]


class Ratio(_Entry):
    """A setting that is a multiple of another one, as LoRA's alpha is of its rank."""

    follows: str = Field(description="Dotted name of the other setting.")
    ratios: tuple[float, ...] = Field(min_length=1, description="Factors.")

    @model_validator(mode="after")
    def _distinct(self) -> Ratio:
        if len(set(self.ratios)) < len(self.ratios):
            raise ValueError(f"ratios {list(self.ratios)} name one twice")
        return self

    def parameter(self, name: str) -> str:
        """Returns the name of the factor."""
        return f"{name} / {self.follows}"

    def settle(self, drawn: Value, choices: dict[str, Any]) -> Any:
        """Returns the factor times the other setting: a whole number where that is one and so is the product."""
        value = float(drawn) * choices[self.follows]
        return int(value) if isinstance(choices[self.follows], int) and value == int(value) else value

    def needs(self) -> set[str]:
        """Returns the settings that must be known before this one."""
        return {*self.when, self.follows}

    def grid(self) -> list[Value]:
        """Returns the factors that a grid takes."""
        return list(self.ratios)

    def at(self, share: float) -> Value:
        """Returns the factor below which a share of all draws lies."""
        return self.ratios[int(share * len(self.ratios))]


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

_KINDS: dict[str, type[_Entry]] = {"values": Candidates, "ratios": Ratio, "low": Range}


def read_entry(entry: Any) -> Entry:
    """Reads one entry of a space.

    Raises:
        ValueError: It is none; pydantic's error is one of these.
    """
    if not isinstance(entry, dict):
        raise ValueError("write {values: [...]}, {low: ..., high: ...} or {follows: ..., ratios: [...]}")
    kind = next((kind for name, kind in _KINDS.items() if name in entry), Range)
    return kind.model_validate(entry)  # type: ignore[return-value]
