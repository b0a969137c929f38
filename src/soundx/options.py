"""What all groups of parameters have in common: nothing unknown, nothing endless."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator of random numbers takes."""


class Options(BaseModel):
    """A group of parameters; each is checked before a run starts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
