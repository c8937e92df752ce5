"""Everything that decides a training run besides its pictures and its architecture."""

from dataclasses import dataclass, field

from .augment import Line
from .objective import Weights


@dataclass(frozen=True)
class Recipe:
    """The settings of a run; stored in every checkpoint."""

    steps: int
    batch: int = 12  # pictures a step; each passes as two noisy draws
    lr: float = 4e-4
    k_max: int = 100
    seed: int = 1
    defects: float = 0.6  # share of the pictures that get a synthetic defect
    line: Line = field(default_factory=Line)
    weights: Weights = field(default_factory=Weights)
    full_scale: int | None = None  # the sample that means white in pictures of 16 bits; None: 65535
    mixed_sizes: bool = False  # the pictures may differ in size
