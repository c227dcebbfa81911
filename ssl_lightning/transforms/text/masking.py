"""From windows of tokens to pretext tasks: masked tokens, the next sentence, the next token.

A batch holds `tokens (B, N)` int64, padded at the end, and `document (B,)`. Each transform learns the ids that it needs
from the tokenizer by `read`. Whole batches at once, on their device; nothing loops over samples.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ssl_lightning.errors import InputError

Batch = dict[str, Any]


class Tokens(nn.Module):
    """What transforms of tokens know of the tokenizer; those that only look at tokens need not `read` it."""

    requires: tuple[str, ...] = ("tokens",)
    is_ordinary: Tensor
    """(V,) bool: not a special token, such as padding or [MASK]."""
    ordinary_ids: Tensor
    word_starts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.pad_id = -1

    def read(self, tokenizer: Any) -> None:
        """Learns the ids: `vocab_size`, `pad_id`, `mask_id`, `cls_id`, `sep_id`, `special_ids`, `word_starts (V,)`."""
        is_ordinary = torch.ones(tokenizer.vocab_size, dtype=torch.bool)
        is_ordinary[tokenizer.special_ids] = False
        self.register_buffer("is_ordinary", is_ordinary, persistent=False)
        self.register_buffer("ordinary_ids", is_ordinary.nonzero()[:, 0], persistent=False)
        self.register_buffer("word_starts", tokenizer.word_starts.clone(), persistent=False)
        self.pad_id, self.mask_id = tokenizer.pad_id, tokenizer.mask_id
        self.cls_id, self.sep_id = tokenizer.cls_id, tokenizer.sep_id

    def _require_tokenizer(self) -> None:
        if self.pad_id < 0:
            raise InputError(f"{type(self).__name__} does not know the tokenizer yet: call read(tokenizer) first")


class NextToken(Tokens):
    """`inputs` are the tokens; what comes next is a shift by one, which is the method's (GPT)."""

    produces = ("inputs",)

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        return {**batch, "inputs": batch["tokens"]}


class MaskTokens(Tokens):
    """Hides tokens to be guessed: BERT, Devlin et al. 2018, https://arxiv.org/abs/1810.04805, Sec. 3.1 and App. A.1.

    Adds `inputs (B, N)`, `targets (B, N)`, the tokens as they were, and `masked (B, N)` bool, True where a target
    counts. The choice is drawn anew each time a window comes (RoBERTa, Liu et al. 2019, Sec. 4.1). Of n tokens that are
    not special exactly round(rate * n) are chosen, but at least one, as in BERT's code: every window weighs alike, and
    the number of targets is that of the windows' lengths, which independent draws would scatter.

    Args:
        rate: fraction of tokens that are chosen.
        replace: fraction of the chosen that become [MASK].
        random: fraction of the chosen that become any ordinary token; the rest stay as they are.
        whole_word: words are chosen, not tokens, until about as many tokens are; 80/10/10 is drawn for each token.
    """

    produces: tuple[str, ...] = ("inputs", "targets", "masked")

    def __init__(self, rate: float = 0.15, replace: float = 0.8, random: float = 0.1, whole_word: bool = False) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise InputError(f"transform.rate={rate} must be above 0 and at most 1")
        if replace < 0 or random < 0 or replace + random > 1:
            raise InputError(f"transform.replace={replace} and transform.random={random} must be parts of 1")
        self.rate, self.replace, self.random, self.whole_word = rate, replace, random, whole_word

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        self._require_tokenizer()
        return {**batch, **self.mask(batch["tokens"], generator)}

    def mask(self, tokens: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """`inputs`, `targets`, `masked` of `tokens` (B, N), in which special tokens may stand."""
        ordinary = self.is_ordinary[tokens]
        masked = self._choose(tokens, ordinary, generator)
        fate = torch.rand(tokens.shape, generator=generator, device=tokens.device)
        drawn = torch.randint(len(self.ordinary_ids), tokens.shape, generator=generator, device=tokens.device)
        shown = torch.where(fate < self.replace + self.random, self.ordinary_ids[drawn], tokens)
        shown = shown.masked_fill(fate < self.replace, self.mask_id)
        return {"inputs": torch.where(masked, shown, tokens), "targets": tokens, "masked": masked}

    def _choose(self, tokens: Tensor, ordinary: Tensor, generator: torch.Generator) -> Tensor:
        """(B, N) bool: in each row the first round(rate * n) of the n ordinary tokens in a random order."""
        count = (self.rate * ordinary.sum(dim=1, keepdim=True)).round().clamp(min=1)
        score = torch.rand(tokens.shape, generator=generator, device=tokens.device)
        if not self.whole_word:
            return (_rank(score.masked_fill(~ordinary, 2.0)) < count) & ordinary
        word = _words(self.word_starts[tokens], ordinary)
        rank = _rank(score.gather(1, word).masked_fill(~ordinary, 2.0)).float()  # tokens of a word have one score
        zero = torch.zeros_like(rank)
        length = zero.scatter_add(1, word, ordinary.float())
        middle = zero.scatter_add(1, word, rank * ordinary) / length.clamp(min=1)
        first = middle - (length - 1) / 2 < 0.5
        return ((middle < count - 0.5) | first).gather(1, word) & ordinary


class NextSentence(MaskTokens):
    """Does B follow A? BERT's second task (Devlin et al. 2018, Sec. 3.1, Task #2), then masking as in `MaskTokens`.

    A window of n tokens becomes [CLS] A [SEP] B [SEP], padded to the window's length N, which costs its last tokens. A
    is the first half; B the second, but for half of the batch the end of a window of another document. Adds, to what
    MaskTokens adds, `segment (B, N)`, 0 up to the first [SEP], 1 after it, and `is_next (B,)`, 1 where B follows A.
    Deviation: the other documents are those of the batch. A foreign B is as long as the window's own would be, as
    lengths must not tell; a window without such a partner keeps its own.
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
        fits = (document[:, None] != document) & (real >= second[:, None])
        partner, found = _random_true(fits, generator)
        score = torch.rand(1, len(tokens), generator=generator, device=tokens.device)
        order = _rank(score.masked_fill(~found, 2.0))[0]
        foreign = (order < len(tokens) // 2) & found
        own = torch.arange(len(tokens), device=tokens.device)
        source = torch.where(foreign, partner, own)
        end = torch.where(foreign, real[source], length)
        composed, segment = self._compose(tokens, source, length - second, second, end)
        masks = self.mask(composed, generator)
        return {**batch, **masks, "segment": segment, "is_next": (~foreign).long()}

    def _compose(self, tokens: Tensor, source: Tensor, a: Tensor, b: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """[CLS] A [SEP] B [SEP], where A is the first `a` tokens and B the `b` before `end` in the row `source`."""
        place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        a, b, end = a[:, None], b[:, None], end[:, None]
        first = tokens.gather(1, (place - 1).clamp(min=0))
        second = tokens[source].gather(1, (place - a - 2 + end - b).clamp(0, tokens.shape[1] - 1))
        composed = torch.where(place <= a, first, second)
        composed = composed.masked_fill((place == a + 1) | (place == a + b + 2), self.sep_id)
        composed = composed.masked_fill(place == 0, self.cls_id).masked_fill(place > a + b + 2, self.pad_id)
        return composed, ((place > a + 1) & (place <= a + b + 2)).long()


def _rank(score: Tensor) -> Tensor:
    """The place (B, N) of each value in the ascending order of its row; equal values keep their order."""
    order = score.argsort(dim=1, stable=True)
    place = torch.arange(score.shape[1], device=score.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place)


def _words(starts: Tensor, ordinary: Tensor) -> Tensor:
    """The number (B, N) of the word that each token belongs to; what follows a special token begins a word."""
    after_special = torch.nn.functional.pad(~ordinary[:, :-1], (1, 0), value=True)
    return (starts | after_special | ~ordinary).cumsum(dim=1) - 1


def _random_true(choices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random column (B,) of those that are True in each row, and whether there is one (B,)."""
    score = torch.rand(choices.shape, generator=generator, device=choices.device)
    return score.masked_fill(~choices, -1.0).argmax(dim=1), choices.any(dim=1)
