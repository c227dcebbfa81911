"""BART's noise, Lewis et al. 2019, https://arxiv.org/abs/1910.13461, Sec. 2.2: text infilling, shuffled sentences."""

from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from ssl_lightning.ranges import PositiveFloat
from ssl_lightning.transforms.text.masking import Batch, Tokens


class Denoise(Tokens):
    """Adds `inputs` (B, N), a corrupted text, and `targets` (B, N), the original; both end with [SEP], then padding.

    The sentences of a window are shuffled. Then each of several spans of tokens is replaced by a single [MASK]. Lengths
    of spans follow a Poisson distribution; a span of length 0 inserts a [MASK]. A full window loses its last token to
    [SEP]. Deviation: spans begin at any token, not only at words.

    Args:
        rate: fraction of tokens in spans.
        span: mean length of a span.
        shuffle: whether to shuffle sentences. A sentence ends with a token that ends with a period, exclamation or
            question mark, or newline.
    """

    produces = ("inputs", "targets")
    sentence_ends = (".", "!", "?", "\n")

    def __init__(
        self, rate: Annotated[float, Interval(gt=0, lt=1)] = 0.3, span: PositiveFloat = 3.0, shuffle: bool = True
    ) -> None:
        super().__init__()
        self.rate, self.span, self.shuffle = rate, span, shuffle

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        tokens = batch["tokens"]
        text = tokens[:, :-1]
        length = (text != self.pad_id).sum(dim=1, keepdim=True)
        targets = self._ended(text, length)
        if self.shuffle:
            text = text.gather(1, self.shuffled(text, generator))
        inputs, width = self.infill(text, length, generator)
        return {**batch, "inputs": self._ended(inputs, width), "targets": targets}

    def _ended(self, text: Tensor, length: Tensor) -> Tensor:
        """(B, N) -> (B, N + 1): [SEP] after the first `length` tokens, then padding."""
        place = torch.arange(text.shape[1] + 1, device=text.device)
        longer = torch.nn.functional.pad(text, (0, 1), value=self.pad_id)
        return longer.masked_fill(place > length, self.pad_id).masked_fill(place == length, self.sep_id)

    def shuffled(self, text: Tensor, generator: torch.Generator) -> Tensor:
        """Indices (B, N) that put sentences in a random order and keep padding at the end."""
        real = text != self.pad_id
        sentence = torch.nn.functional.pad(self.ends_sentence[text][:, :-1], (1, 0)).cumsum(dim=1)
        score = torch.rand(text.shape, generator=generator, device=text.device)  # one for each sentence number
        return score.gather(1, sentence).masked_fill(~real, 2.0).argsort(dim=1, stable=True)

    def infill(self, text: Tensor, length: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The text (B, N) with a [MASK] for each span, and its new length (B, 1), at most the old `length` (B, 1).

        Spans are drawn until they cover the number of tokens to hide; the last one is shortened to fit. Each span gets
        a random gap between the kept tokens: gap g is the one before the g-th kept token.
        """
        B, N = text.shape
        hidden = (self.rate * length).round().clamp(min=1).minimum(length).long()  # (B, 1) tokens to hide

        # spans (B, S): Poisson lengths, cut off where their sum reaches `hidden`
        column = torch.arange(max(1, round(self.rate * N)), device=text.device)
        drawn = torch.poisson(torch.full((B, len(column)), self.span, device=text.device), generator=generator)
        upto = drawn.cumsum(dim=1).long().minimum(hidden)
        upto = torch.where(column >= hidden - 1, hidden, upto)  # at most `hidden` spans
        spans = upto.diff(dim=1, prepend=torch.zeros_like(hidden))
        used = (upto - spans < hidden).long()  # 1 for spans that begin before the sum is reached

        # for each kept token, the spans and hidden tokens before it
        kept = length - hidden
        gap = (torch.rand(spans.shape, generator=generator, device=text.device) * (kept + 1)).long()
        none = torch.zeros_like(text)
        passed = none.scatter_add(1, gap.clamp(max=N - 1), used).cumsum(dim=1)
        covered = none.scatter_add(1, gap.clamp(max=N - 1), spans).cumsum(dim=1)

        # write each kept token behind the [MASK]s before it; column N takes those beyond `kept` and is dropped
        place = torch.arange(N, device=text.device).expand_as(text)
        tokens = text.gather(1, (place + covered).clamp(max=N - 1))
        result = text.new_full((B, N + 1), self.mask_id)
        result.scatter_(1, torch.where(place < kept, place + passed, N), tokens)
        return result[:, :N], kept + used.sum(dim=1, keepdim=True)
