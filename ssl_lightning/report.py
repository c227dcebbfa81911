"""`ssl-report`: runs side by side."""

from typing import TYPE_CHECKING

from ssl_lightning.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("report")
def main(config: "DictConfig") -> None:
    """Compares."""
    from ssl_lightning.commands.report import report

    report(config)


if __name__ == "__main__":
    main()
