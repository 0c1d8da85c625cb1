"""The base of what is read from files and requests: no name that it does not know, and no change after it was read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """A pydantic model that refuses unknown names and changes. Its validator is built when it is first used.

    A command that only lists things imports most of them and uses few.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
