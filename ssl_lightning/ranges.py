"""Ranges of arguments: declared where the argument is, checked by `config/validate.py` where a config gives it."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Gt, Interval, Le
from pydantic import AfterValidator
from pydantic import NonNegativeFloat as NonNegativeFloat
from pydantic import NonNegativeInt as NonNegativeInt
from pydantic import PositiveFloat as PositiveFloat
from pydantic import PositiveInt as PositiveInt


def _rising(ends: Sequence[float]) -> Sequence[float]:
    if len(ends) != 2 or ends[0] > ends[1]:
        raise ValueError("it should be [low, high]")
    return ends


AtLeastTwo = Annotated[int, Ge(2)]
Seed = Annotated[int, Interval(ge=0, lt=2**32)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
PositiveFraction = Annotated[float, Gt(0), Le(1)]
Size = NonNegativeInt | Annotated[float, Interval(ge=0, lt=1)]
"""Of a part of a set: a count, or a fraction below 1."""
PositiveSpan = Annotated[Sequence[PositiveFloat], AfterValidator(_rising)]
NonNegativeSpan = Annotated[Sequence[NonNegativeFloat], AfterValidator(_rising)]
"""From a lowest to a highest value."""
