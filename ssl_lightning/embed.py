"""`ssl-embed`: the embeddings of a run, in a file."""

from typing import TYPE_CHECKING

from ssl_lightning.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("embed")
def main(config: "DictConfig") -> None:
    """Embeds."""
    from ssl_lightning.commands.embed import embed

    embed(config)


if __name__ == "__main__":
    main()
