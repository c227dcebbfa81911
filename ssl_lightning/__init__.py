"""Self-supervised learning: Hydra composes, Lightning runs, every modality in one interface."""

from pathlib import Path
from typing import TYPE_CHECKING

from ssl_lightning.runs.folder import RunFolder, find_run

if TYPE_CHECKING:
    from ssl_lightning.runs.frozen_features import Encoder

__all__ = ["RunFolder", "__version__", "find_run", "load"]
__version__ = "0.1.0"


def load(run: str | Path, checkpoint: str = "last") -> "Encoder":
    """The frozen encoder of a run with its preprocessing, on the CPU: call it on images, files, clips or texts.

    Args:
        run: its folder, as `find_run` takes it.
        checkpoint: last, best, or a path.

    Raises:
        InputError: no such run or checkpoint, or one of another architecture.
    """
    from ssl_lightning.runs.frozen_features import Encoder
    from ssl_lightning.runs.load import load_method

    return Encoder(*load_method(find_run(run), checkpoint))
