"""What the loss of a language model means, whatever its tokenizer."""

import math


def likelihood(loss: float, bytes_per_token: float) -> dict[str, float]:
    """Perplexity, and bits per byte, of the mean cross-entropy `loss` of a token in nats.

    `bytes_per_token`: bytes of text that a token stands for, so that runs with other tokenizers can be compared.
    """
    return {"perplexity": math.exp(min(loss, 700.0)), "bits_per_byte": loss / math.log(2) / bytes_per_token}
