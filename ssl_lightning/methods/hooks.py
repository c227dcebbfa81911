"""What a method declares, with defaults: callbacks and commands use nothing else of it."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import Parameter


class MethodHooks:
    """A subclass implements `loss`; all else is optional."""

    backbone: Any

    requires: ClassVar[tuple[str, ...]] = ("views",)
    """The keys of a batch that `loss` uses. Data and transform must provide them, otherwise a run is refused."""
    views: ClassVar[int | None] = None
    """The number of views of an image that `loss` takes; None: any number, also 0."""

    backbone_kind: ClassVar[str] = "image"
    """The required kind of backbone: one of the `kinds` of its class or builder, the `head` of a language model, or
    "mean of patches", a transformer that embeds their mean: for a method whose loss trains no class token."""

    min_batch_size: ClassVar[int] = 2
    """The smallest batch; a method that compares the samples of a batch, or normalizes over them, needs two."""

    uses_batch_negatives: ClassVar[bool] = False
    """Whether the samples of a batch are each other's negatives: gradient accumulation then adds no negatives."""

    sized_by_data: ClassVar[tuple[str, ...]] = ()
    """Buffers with a row for each sample: `learn_from` makes them, and a checkpoint may hold any number of rows."""

    in_evaluation: tuple[str, ...] = ()
    """Networks that are in evaluation mode also while the method trains, so that nothing of them drops out."""

    weight_decay_end: float | None = None
    """What the weight decay approaches along a cosine; None: it is constant."""

    token_loss: str | None = None
    """For language models: the result of `loss` that is the mean cross-entropy of a token, in nats."""

    collapse_below: Mapping[str, float] = {}
    """Scalars of `loss`, each with a value below which the method has collapsed, whatever its embedding looks like."""

    figures: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """The method's own metrics for tables: label and format. A label that begins with "..." continues the last one."""

    starts_from: ClassVar[tuple[str, ...]] = ("backbone.pretrained",)
    """The keys of a config that load trained weights. The untrained control leaves them out."""

    @property
    def encoder(self) -> Any:
        """The network that embeds, and that an export writes: `backbone`, or its teacher."""
        return self.backbone

    def forward(self, x: Tensor) -> Tensor:
        """The downstream embedding (B, D), by default that of `encoder`."""
        return self.encoder(x)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """`loss`, a scalar; `embedding` (B, D), detached; other scalars, which are logged with the loss.

        `weight`, if given, is the number of targets over which the loss is a mean. Ranks and accumulated batches are
        then weighted by it. Without it they have equal weight.
        """
        raise NotImplementedError

    def negatives(self, batch_size: int) -> int:
        """With how many others a sample is compared; by default those of its batch if it `uses_batch_negatives`."""
        return (batch_size - 1) * self.uses_batch_negatives

    def frozen(self) -> Iterable[Parameter]:
        """Weights that this step leaves as they are, though they have a gradient, such as prototypes at the start."""
        return ()

    def after_step(self, progress: float) -> None:
        """Updates teachers and queues after each optimizer step; `progress` in [0, 1) is that of the training."""

    def embed(self, batch: Mapping[str, Any], key: str) -> Tensor:
        """The downstream embedding (B, D) of a batch in evaluation, whose input is `batch[key]`.

        By default it is `forward` of the input; a subclass may use more of the batch, such as lengths.
        """
        return self(batch[key])  # type: ignore[operator]

    def encode_image(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), as in evaluation, in the space that they share with texts: (B, K)."""
        raise NotImplementedError

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Texts (B, N), padded at the end, in the space that they share with images: (B, K)."""
        raise NotImplementedError

    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """Pictures of the pretext task on a transformed batch, (B, ...) by title: inputs and predictions."""
        return None

    def generate(self, batch: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """Solves the pretext task on a user's input, with the options of `ssl-generate`; by default `show`."""
        return self.show(batch)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstructs the input of evaluation, (B, ...), from its embedding alone."""
        raise NotImplementedError

    def predictions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From the input of evaluation, (B, ...): the true part to predict, and its prediction."""
        raise NotImplementedError

    def controls(self, x: Tensor) -> dict[str, Tensor]:
        """Predictions by name that need no learning, with which `predictions` are compared."""
        return {}

    def learn_from(self, data: Any) -> None:
        """Learns something from the DataModule before the first step, such as a codebook.

        Stores it in buffers, equal on all processes. A resumed run does not call it.
        """

    @classmethod
    def declares(cls, hook: str) -> bool:
        """Whether a subclass overrides `hook`, one of the optional parts above."""
        return getattr(cls, hook) is not getattr(MethodHooks, hook)
