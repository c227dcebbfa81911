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

    requires: tuple[str, ...] = ("tokens", "document")
    produces: tuple[str, ...] = ()
    is_ordinary: Tensor
    """(V,) bool: False for special tokens, such as padding and [MASK]."""
    ordinary_ids: Tensor
    word_starts: Tensor
    ends_sentence: Tensor
    sentence_ends: tuple[str, ...] = ()
    """Marks with which a token ends that ends a sentence, if the transform asks for them."""

    def read(self, tokenizer: Any) -> None:
        """Stores ids of the tokenizer, and which tokens are ordinary and start words."""
        is_ordinary = torch.ones(tokenizer.vocab_size, dtype=torch.bool)
        is_ordinary[tokenizer.special_ids] = False
        self.is_ordinary = nn.Buffer(is_ordinary, persistent=False)
        self.ordinary_ids = nn.Buffer(is_ordinary.nonzero()[:, 0], persistent=False)
        self.word_starts = nn.Buffer(tokenizer.word_starts.clone(), persistent=False)
        if self.sentence_ends:
            self.ends_sentence = nn.Buffer(tokens_that_end_with(tokenizer, self.sentence_ends), persistent=False)
        self.pad_id, self.mask_id = tokenizer.pad_id, tokenizer.mask_id
        self.cls_id, self.sep_id = tokenizer.cls_id, tokenizer.sep_id

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch


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

    A window becomes [CLS] A [SEP] B [SEP]. A ends with the sentence that ends nearest to a random place in the middle
    half of the window; B is what follows, or for half of the batch what follows A in a window of another document. So
    both begin and end alike, and the tokens at the border do not tell which it is, as they do in cuts anywhere. Each B
    is cut to the length of its alternative, so lengths tell nothing. Adds the keys of `MaskTokens`, `segment` (B, N), 0
    up to the first [SEP] and 1 after it, and `is_next` (B,), 1 if B follows A.

    Deviations: other documents come from the same batch; a window without a partner in it keeps its own B. A window
    without the end of a sentence is cut at the random place. A begins where the window does.
    """

    produces = ("inputs", "targets", "masked", "segment", "is_next")
    sentence_ends = (".", "!", "?")

    def forward(self, batch: Batch, generator: torch.Generator) -> Batch:
        tokens, document = batch["tokens"], batch["document"]
        if tokens.shape[1] < 5:
            raise InputError(f"windows of {tokens.shape[1]} tokens are too short for two sentences; 5 are needed")
        length = (tokens != self.pad_id).sum(dim=1).clamp(max=tokens.shape[1] - 3)
        first = self.cut(tokens, length, generator)
        partner, found = _random_true(document[:, None] != document, generator)
        own = torch.arange(len(tokens), device=tokens.device)
        partner = torch.where(found, partner, own)
        second = torch.minimum(length - first, (length - first)[partner])
        score = torch.rand(1, len(tokens), generator=generator, device=tokens.device)
        order = _rank(score.masked_fill(~found, 2.0))[0]  # a random half of the batch, as far as it has partners
        foreign = (order < len(tokens) // 2) & found
        source = torch.where(foreign, partner, own)
        composed, segment = self._compose(tokens, source, first, second, first[source])
        masks = self.mask(composed, generator)
        return {**batch, **masks, "segment": segment, "is_next": (~foreign).long()}

    def cut(self, tokens: Tensor, length: Tensor, generator: torch.Generator) -> Tensor:
        """How many tokens (B,) of each window make A, of the `length` (B,) that A and B have together."""
        draw = torch.rand(len(tokens), 1, generator=generator, device=tokens.device)
        wanted = ((0.25 + 0.5 * draw) * length[:, None]).long()
        count = torch.arange(1, tokens.shape[1], device=tokens.device)  # tokens of A, if it ends with this one
        ends, starts = self.ends_sentence[tokens], self.word_starts[tokens]
        last = ends[:, :-1] & ~ends[:, 1:] & starts[:, 1:] & (count < length[:, None])  # of "..." the last; not os.path
        distance = (count - wanted).abs().masked_fill(~last, tokens.shape[1])
        return torch.where(last.any(dim=1), count[distance.argmin(dim=1)], wanted[:, 0])

    def _compose(self, tokens: Tensor, source: Tensor, a: Tensor, b: Tensor, begin: Tensor) -> tuple[Tensor, Tensor]:
        """[CLS] A [SEP] B [SEP]: A is the first `a` tokens, B the `b` tokens from `begin` on of the row `source`."""
        place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        a, b, begin = a[:, None], b[:, None], begin[:, None]
        first = tokens.gather(1, (place - 1).clamp(min=0))
        second = tokens[source].gather(1, (place - a - 2 + begin).clamp(0, tokens.shape[1] - 1))
        composed = torch.where(place <= a, first, second)
        composed = composed.masked_fill((place == a + 1) | (place == a + b + 2), self.sep_id)
        composed = composed.masked_fill(place == 0, self.cls_id).masked_fill(place > a + b + 2, self.pad_id)
        return composed, ((place > a + 1) & (place <= a + b + 2)).long()


def tokens_that_end_with(tokenizer: Any, marks: tuple[str, ...]) -> Tensor:
    """(V,) bool: whether a token ends with one of the marks, and spaces behind it; special tokens do not."""
    texts = [tokenizer.decode([token]) for token in range(tokenizer.vocab_size)]
    ends = torch.tensor([text.rstrip(" ").endswith(marks) for text in texts])
    ends[tokenizer.special_ids] = False
    return ends


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
