"""TensorBoard: curves and figures as event files in a run folder."""

from typing import Any

import lightning.pytorch.loggers
import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from ssl_lightning.errors import InputError


class TensorBoardLogger(lightning.pytorch.loggers.TensorBoardLogger):
    """Event files in `folder`/tensorboard, with the figures.

    Raises:
        InputError: the package tensorboard is not installed.
    """

    def __init__(self, folder: str) -> None:
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise InputError("logger=tensorboard needs a package: pip install 'ssl-lightning[tensorboard]'") from error
        super().__init__(save_dir=folder, name="tensorboard", version="")

    @rank_zero_only
    def log_image(self, key: str, images: list[str], step: int | None = None, **kwargs: Any) -> None:
        """PNG files, as W&B's logger takes them."""
        for path in images:
            pixels = np.asarray(Image.open(path).convert("RGB"))
            self.experiment.add_image(key, pixels, step, dataformats="HWC")
