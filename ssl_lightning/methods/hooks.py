"""What a method declares, with defaults: all that callbacks and commands ask of it."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor


class MethodHooks:
    """A subclass writes `forward` and `loss`; all else is optional."""

    requires: ClassVar[tuple[str, ...]] = ("views",)
    """The keys of a batch that `loss` uses; a run whose data and transform do not provide them is refused."""
    views: ClassVar[int | None] = None
    """How many views of an image `loss` takes; None: any number, or none at all."""

    backbone_kind: ClassVar[str] = "image"
    """What the backbone must be: one of its class's or builder's `kinds`, or the `head` of a language model."""

    min_batch_size: ClassVar[int] = 2
    """What compares the samples of a batch, or normalizes over them, needs two."""

    uses_batch_negatives: ClassVar[bool] = False
    """Whether the samples of a batch are each other's negatives: gradient accumulation then adds no negatives."""

    token_loss: str | None = None
    """Of language models: which result of `loss` is the mean cross-entropy of a token, in nats."""

    figures: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Metrics of its own that a reader wants to see: label and format. "..." begins a label that continues the last."""

    starts_from: ClassVar[tuple[str, ...]] = ("backbone.pretrained",)
    """The keys of a config that bring trained weights, which the untrained control does without."""

    def forward(self, x: Tensor) -> Tensor:
        """The downstream embedding (B, D)."""
        raise NotImplementedError

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """`loss`, a scalar; `embedding (B, D)`, detached; any other scalar is logged beside the loss.

        `weight`, if given, is the number of targets whose mean the loss is: ranks and accumulated batches then count
        by it. Without it they count alike.
        """
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Moves teachers and queues: called once per optimizer step, at `progress` in [0, 1) of the training."""

    def embed(self, batch: Mapping[str, Any], key: str) -> Tensor:
        """The downstream embedding (B, D) of a batch as evaluation sees it, whose input is `key`.

        By default `forward` of the input alone; a subclass may use more of the batch, such as lengths.
        """
        return self(batch[key])  # type: ignore[operator]

    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The pretext task on a transformed batch: what was given and what became of it, (B, ...) by title."""
        return None

    def generate(self, batch: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The pretext task on a user's input, with the options of `ssl-generate`: by default `show`."""
        return self.show(batch)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The input, (B, ...) as evaluation sees it, from its embedding alone."""
        raise NotImplementedError

    def predictions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of an input, (B, ...) as evaluation sees it, the part to be predicted, and the prediction of it."""
        raise NotImplementedError

    def controls(self, x: Tensor) -> dict[str, Tensor]:
        """By name, what `predictions` are compared with: predictions that take no learning."""
        return {}

    def learn_from(self, data: Any) -> None:
        """Learns from the DataModule before the first step, such as a codebook: into buffers, on every process alike.

        Not called when a run is resumed.
        """

    @classmethod
    def declares(cls, hook: str) -> bool:
        """Whether a subclass has its own `hook`, one of the optional parts above."""
        return getattr(cls, hook) is not getattr(MethodHooks, hook)
