"""From windows of tokens to pretext tasks: masked tokens, the next sentence, the next token.

A batch holds `tokens` (B, N) int64, padded at the end, and `document` (B,). `read` gives a transform the ids of the
tokenizer. Transforms process whole batches on their device and never loop over samples.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.ranges import Fraction, PositiveFraction

Batch = dict[str, Any]


class Tokens(nn.Module):
    """Passes tokens on unchanged, for next-token prediction; the base of transforms that need the tokenizer."""

    requires: tuple[str, ...] = ("tokens",)
    produces: tuple[str, ...] = ()
    is_ordinary: Tensor
    """(V,) bool: False for special tokens, such as padding and [MASK]."""
    ordinary_ids: Tensor
    word_starts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.pad_id = -1

    def read(self, tokenizer: Any) -> None:
        """Stores ids of the tokenizer, and which tokens are ordinary and start words."""
        is_ordinary = torch.ones(tokenizer.vocab_size, dtype=torch.bool)
        is_ordinary[tokenizer.special_ids] = False
        self.register_buffer("is_ordinary", is_ordinary, persistent=False)
        self.register_buffer("ordinary_ids", is_ordinary.nonzero()[:, 0], persistent=False)
        self.register_buffer("word_starts", tokenizer.word_starts.clone(), persistent=False)
        self.pad_id, self.mask_id = tokenizer.pad_id, tokenizer.mask_id
        self.cls_id, self.sep_id = tokenizer.cls_id, tokenizer.sep_id

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch

    def _require_tokenizer(self) -> None:
        if self.pad_id < 0:
            raise InputError(f"{type(self).__name__} does not know the tokenizer yet: call read(tokenizer) first")


class MaskTokens(Tokens):
    """Masked language modeling of BERT, Devlin et al. 2018, https://arxiv.org/abs/1810.04805, Sec. 3.1 and App. A.1.

    Adds `inputs` (B, N), `targets` (B, N), the original tokens, and `masked` (B, N) bool, True for tokens to predict.
    Masks are drawn every time a window is seen (RoBERTa, Liu et al. 2019, Sec. 4.1). Of n ordinary tokens exactly
    round(rate * n), but at least one, are chosen, as in BERT's code. So all windows of one length have equally many
    targets, which is not the case for independent draws.

    Args:
        rate: fraction of tokens to choose.
        replace: fraction of the chosen tokens that become [MASK].
        random: fraction of the chosen tokens that become a random ordinary token; the rest stays unchanged.
        whole_word: choose whole words until about as many tokens are chosen; `replace` and `random` are still drawn for
            each token.
    """

    produces: tuple[str, ...] = ("inputs", "targets", "masked")

    def __init__(
        self, rate: PositiveFraction = 0.15, replace: Fraction = 0.8, random: Fraction = 0.1, whole_word: bool = False
    ) -> None:
        super().__init__()
        if replace + random > 1:
            raise InputError(f"transform.replace={replace} and transform.random={random} are parts of more than 1")
        self.rate, self.replace, self.random, self.whole_word = rate, replace, random, whole_word

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        self._require_tokenizer()
        return {**batch, **self.mask(batch["tokens"], generator)}

    def mask(self, tokens: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """`inputs`, `targets` and `masked` for `tokens` (B, N), which may hold special tokens."""
        ordinary = self.is_ordinary[tokens]
        masked = self._choose(tokens, ordinary, generator)
        fate = torch.rand(tokens.shape, generator=generator, device=tokens.device)  # [MASK], random or unchanged
        drawn = torch.randint(len(self.ordinary_ids), tokens.shape, generator=generator, device=tokens.device)
        shown = torch.where(fate < self.replace + self.random, self.ordinary_ids[drawn], tokens)
        shown = shown.masked_fill(fate < self.replace, self.mask_id)
        return {"inputs": torch.where(masked, shown, tokens), "targets": tokens, "masked": masked}

    def _choose(self, tokens: Tensor, ordinary: Tensor, generator: torch.Generator) -> Tensor:
        """(B, N) bool: round(rate * n) random tokens of the n ordinary tokens of each row."""
        count = (self.rate * ordinary.sum(dim=1, keepdim=True)).round().clamp(min=1)
        score = torch.rand(tokens.shape, generator=generator, device=tokens.device)
        if not self.whole_word:
            return (_rank(score.masked_fill(~ordinary, 2.0)) < count) & ordinary
        word = _words(self.word_starts[tokens], ordinary)
        # tokens of a word have one score, so their ranks are consecutive
        rank = _rank(score.gather(1, word).masked_fill(~ordinary, 2.0)).float()
        zero = torch.zeros_like(rank)
        length = zero.scatter_add(1, word, ordinary.float())  # (B, N) by word
        middle = zero.scatter_add(1, word, rank * ordinary) / length.clamp(min=1)  # mean rank of a word's tokens
        first = middle - (length - 1) / 2 < 0.5  # the word that begins at rank 0 is always chosen
        return ((middle < count - 0.5) | first).gather(1, word) & ordinary


class NextSentence(MaskTokens):
    """Next-sentence prediction of BERT (Devlin et al. 2018, Sec. 3.1, Task #2), then masking as in `MaskTokens`.

    A window becomes [CLS] A [SEP] B [SEP] and keeps its length N; a full window loses its last tokens. A is the first
    half of the window. B is the second half or, for half of the batch, the end of a window of another document. Adds
    the keys of `MaskTokens`, `segment` (B, N), 0 up to the first [SEP] and 1 after it, and `is_next` (B,), 1 if B
    follows A. Deviation: other documents come from the same batch. A foreign B has the length of the second half, so
    its length reveals nothing. A window without such a partner keeps its own second half.
    """

    requires = ("tokens", "document")
    produces = ("inputs", "targets", "masked", "segment", "is_next")

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        self._require_tokenizer()
        tokens, document = batch["tokens"], batch["document"]
        if tokens.shape[1] < 5:
            raise InputError(f"windows of {tokens.shape[1]} tokens are too short for two sentences; 5 are needed")
        real = (tokens != self.pad_id).sum(dim=1)
        length = real.clamp(max=tokens.shape[1] - 3)
        second = (length + 1) // 2
        fits = (document[:, None] != document) & (real >= second[:, None])  # (B, B): could lend its end
        partner, found = _random_true(fits, generator)
        score = torch.rand(1, len(tokens), generator=generator, device=tokens.device)
        order = _rank(score.masked_fill(~found, 2.0))[0]  # a random half of the batch, as far as it has partners
        foreign = (order < len(tokens) // 2) & found
        own = torch.arange(len(tokens), device=tokens.device)
        source = torch.where(foreign, partner, own)
        end = torch.where(foreign, real[source], length)
        composed, segment = self._compose(tokens, source, length - second, second, end)
        masks = self.mask(composed, generator)
        return {**batch, **masks, "segment": segment, "is_next": (~foreign).long()}

    def _compose(self, tokens: Tensor, source: Tensor, a: Tensor, b: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """[CLS] A [SEP] B [SEP]: A is the first `a` tokens, B the `b` tokens before `end` of the row `source`."""
        place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        a, b, end = a[:, None], b[:, None], end[:, None]
        first = tokens.gather(1, (place - 1).clamp(min=0))
        second = tokens[source].gather(1, (place - a - 2 + end - b).clamp(0, tokens.shape[1] - 1))
        composed = torch.where(place <= a, first, second)
        composed = composed.masked_fill((place == a + 1) | (place == a + b + 2), self.sep_id)
        composed = composed.masked_fill(place == 0, self.cls_id).masked_fill(place > a + b + 2, self.pad_id)
        return composed, ((place > a + 1) & (place <= a + b + 2)).long()


def _rank(score: Tensor) -> Tensor:
    """The rank (B, N) of each value within its row, from 0; equal values keep their order."""
    order = score.argsort(dim=1, stable=True)
    place = torch.arange(score.shape[1], device=score.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place)


def _words(starts: Tensor, ordinary: Tensor) -> Tensor:
    """The index (B, N) of each token's word; a token after a special token begins a word."""
    after_special = torch.nn.functional.pad(~ordinary[:, :-1], (1, 0), value=True)
    return (starts | after_special | ~ordinary).cumsum(dim=1) - 1


def _random_true(choices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each row a random column that is True, (B,), and whether there is one, (B,)."""
    score = torch.rand(choices.shape, generator=generator, device=choices.device)
    return score.masked_fill(~choices, -1.0).argmax(dim=1), choices.any(dim=1)
