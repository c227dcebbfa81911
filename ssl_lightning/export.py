"""`ssl-export`: the weights of a run for other libraries."""

from typing import TYPE_CHECKING

from ssl_lightning.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("export")
def main(config: "DictConfig") -> None:
    """Exports."""
    from ssl_lightning.commands.export import export

    export(config)


if __name__ == "__main__":
    main()
