"""What all groups of parameters have in common: nothing unknown, nothing endless."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator of random numbers takes."""


class Options(BaseModel):
    """A group of parameters; each is checked before a run starts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, bool):
            return value
        kind = cls.model_fields[info.field_name or ""].annotation
        kinds = (kind, *get_args(kind))
        if value is False and "off" in kinds:  # as YAML reads the word
            return "off"
        # true would be 1
        if bool not in kinds and (int in kinds or float in kinds):
            raise ValueError("It is a number, not a switch")
        return value
