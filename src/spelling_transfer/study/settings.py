"""Settings of what happens with a study's trials once they are there."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from spelling_transfer.statistics.resampling import Bootstrap


class AnalysisSettings(BaseModel):
    """How the intervals of a study's analysis are made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_resamples: int = Field(1_999, ge=199, le=100_000, description="Bootstrap resamples of word families and trials.")
    importance_seeds: int = Field(
        10, ge=1, le=1_000, description="Resamples of the trials for the spread of each setting's importance."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of all resampling.")

    @property
    def bootstrap(self) -> Bootstrap:
        """How families and trials are resampled."""
        return Bootstrap(n_resamples=self.n_resamples, seed=self.seed)


class RecommendationSettings(BaseModel):
    """What is trained once a study has chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: int = Field(
        3, ge=1, le=100, description="New seeds the best configuration is trained with before it is called best."
    )
    control: bool = Field(
        True, description="Train the control arm too: the same steps on the same prompts with other words' answers."
    )
