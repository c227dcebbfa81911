"""`ssl-generate`: a trained method does its pretext task on what the user gives."""

from typing import TYPE_CHECKING

from ssl_lightning.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("generate")
def main(config: "DictConfig") -> None:
    """Generates."""
    from ssl_lightning.commands.generate import generate

    generate(config)


if __name__ == "__main__":
    main()
