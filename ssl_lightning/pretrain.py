"""`ssl-pretrain`: composes a run, trains it, and leaves everything in its folder."""

from typing import TYPE_CHECKING

from ssl_lightning.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("pretrain")
def main(config: "DictConfig") -> float | None:
    """Trains; returns the metric named by `objective` to a sweeper."""
    from ssl_lightning.commands.pretrain import pretrain

    return pretrain(config)


if __name__ == "__main__":
    main()
