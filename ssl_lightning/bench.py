"""`ssl-bench`: speed and memory of a composed run."""

from typing import TYPE_CHECKING

from ssl_lightning.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("bench")
def main(config: "DictConfig") -> float:
    """Measures; returns the end-to-end rate to a sweeper."""
    from ssl_lightning.commands.bench import bench

    return bench(config)


if __name__ == "__main__":
    main()
