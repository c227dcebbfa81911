"""Loggers beside `metrics.csv`."""

import secrets
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_only

from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import write_atomically


def wandb(
    folder: str,
    project: str = "ssl-lightning",
    mode: Literal["online", "offline"] = "online",
    group: str | None = None,
    name: str | None = None,
    entity: str | None = None,
    tags: list[str] | None = None,
) -> Any:
    """Weights & Biases; a resumed run goes on under the id that lies in its folder (`wandb_id`).

    Args:
        folder: the run folder.
        project, entity, name, tags: as in `wandb.init`.
        group: as in `wandb.init`; None puts the jobs of one multirun under the name of its folder.
        mode: 'offline' writes to the run folder, to be sent later by `wandb sync`.

    Raises:
        InputError: wandb is not installed, or knows no such mode.
    """
    try:
        import wandb as client
        from lightning.pytorch.loggers import WandbLogger
    except ImportError as error:
        raise InputError("logger=wandb needs the package wandb: pip install 'ssl-lightning[wandb]'") from error
    if mode not in ("online", "offline"):
        raise InputError(f"logger.wandb.mode={mode} is unknown; it is 'online' or 'offline'")
    sweep = Path(folder).resolve().parent
    if group is None and (sweep / "multirun.yaml").exists():
        group = sweep.name
    file = Path(folder) / "wandb_id"
    if _writes() and not file.exists():
        write_atomically(file, secrets.token_hex(4))
    return WandbLogger(
        save_dir=folder,
        project=project,
        id=file.read_text().strip() if file.exists() else None,
        resume="allow",
        offline=mode == "offline",
        group=group,
        name=name,
        entity=entity,
        tags=tags,
        settings=client.Settings(silent=True),
    )


def tensorboard(folder: str) -> Any:
    """TensorBoard event files in `folder`/tensorboard.

    Raises:
        InputError: the package tensorboard is not installed.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise InputError("logger=tensorboard needs a package: pip install 'ssl-lightning[tensorboard]'") from error
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(save_dir=folder, name="tensorboard", version="")


def _writes() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def close(logger: Any) -> None:
    """Ends a logger for good: left open, W&B's run would take in the next job of a multirun."""
    logger.finalize("finished")
    if type(logger).__name__ == "WandbLogger" and _writes():
        logger.experiment.finish()
