"""`ssl-evaluate`: a protocol on the frozen encoder of a run, beside its controls."""

from typing import TYPE_CHECKING

from ssl_lightning.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("evaluate")
def main(config: "DictConfig") -> float:
    """Evaluates; returns the kNN accuracy to a sweeper."""
    from ssl_lightning.commands.evaluate import evaluate

    return evaluate(config)


if __name__ == "__main__":
    main()
