"""BART's noise, Lewis et al. 2019, https://arxiv.org/abs/1910.13461, Sec. 2.2: text infilling, shuffled sentences."""

from typing import Any

import torch
from torch import Tensor

from ssl_lightning.errors import InputError
from ssl_lightning.transforms.text.masking import Batch, Tokens

SENTENCE_ENDS = (".", "!", "?", "\n")


class Denoise(Tokens):
    """Adds `inputs (B, N)`, a corrupted text, and `targets (B, N)`, the text; both end with [SEP] and are padded.

    The sentences of a window are put in a random order; then spans of tokens, `rate` of all, become one [MASK] each.
    Lengths are drawn from a Poisson distribution; a span of length 0 inserts a [MASK]. Of a full window the last token
    makes room for [SEP], by which a text ends. Deviation: spans begin at any token, not only where words do.

    Args:
        rate: fraction of the tokens that are hidden.
        span: mean length of a span.
        shuffle: whether sentences are shuffled. They end with tokens that end with a full stop, an exclamation or
            question mark, or a new line.
    """

    produces = ("inputs", "targets")
    ends_sentence: Tensor

    def __init__(self, rate: float = 0.3, span: float = 3.0, shuffle: bool = True) -> None:
        super().__init__()
        if not 0 < rate < 1:
            raise InputError(f"transform.rate={rate} must be above 0 and below 1")
        if not span > 0:
            raise InputError(f"transform.span={span} must be above 0")
        self.rate, self.span, self.shuffle = rate, span, shuffle

    def read(self, tokenizer: Any) -> None:
        super().read(tokenizer)
        texts = [tokenizer.decode([token]) for token in range(tokenizer.vocab_size)]
        ends = torch.tensor([text.rstrip(" ").endswith(SENTENCE_ENDS) for text in texts])
        self.register_buffer("ends_sentence", ends & self.is_ordinary, persistent=False)

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        self._require_tokenizer()
        tokens = batch["tokens"]
        if tokens.shape[1] < 2:
            raise InputError(f"windows of {tokens.shape[1]} token are too short to be corrupted; 2 are needed")
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
        """Places (B, N) from which to take the tokens: sentences in a random order, padding stays at the end."""
        real = text != self.pad_id
        sentence = torch.nn.functional.pad(self.ends_sentence[text][:, :-1], (1, 0)).cumsum(dim=1)
        score = torch.rand(text.shape, generator=generator, device=text.device)
        return score.gather(1, sentence).masked_fill(~real, 2.0).argsort(dim=1, stable=True)

    def infill(self, text: Tensor, length: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The text (B, N) with a [MASK] for each span, and its length (B, 1), never above the `length` (B, 1) before.

        Spans are drawn until their sum is the number of tokens to hide, the last one cut to fit. Each is set into one
        of the gaps between the tokens that are kept: gap g lies before the g-th of them.
        """
        B, N = text.shape
        hidden = (self.rate * length).round().clamp(min=1).minimum(length).long()
        column = torch.arange(max(1, round(self.rate * N)), device=text.device)
        drawn = torch.poisson(torch.full((B, len(column)), self.span, device=text.device), generator=generator)
        upto = drawn.cumsum(dim=1).long().minimum(hidden)
        upto = torch.where(column >= hidden - 1, hidden, upto)  # so that there are not more spans than hidden tokens
        spans = upto.diff(dim=1, prepend=torch.zeros_like(hidden))
        used = (upto - spans < hidden).long()
        kept = length - hidden
        gap = (torch.rand(spans.shape, generator=generator, device=text.device) * (kept + 1)).long()
        none = torch.zeros_like(text)
        passed = none.scatter_add(1, gap.clamp(max=N - 1), used).cumsum(dim=1)  # spans up to each kept token
        covered = none.scatter_add(1, gap.clamp(max=N - 1), spans).cumsum(dim=1)
        place = torch.arange(N, device=text.device).expand_as(text)
        tokens = text.gather(1, (place + covered).clamp(max=N - 1))
        result = text.new_full((B, N + 1), self.mask_id)
        result.scatter_(1, torch.where(place < kept, place + passed, N), tokens)
        return result[:, :N], kept + used.sum(dim=1, keepdim=True)
