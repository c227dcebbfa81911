"""What text a token stands for, in the ways of writing it that the tokenizers of transformers have.

A str that begins with ## goes on with a word (WordPiece); bytes are the text itself.
"""

import unicodedata


def _byte_characters() -> list[str]:
    """The printable character by which GPT-2's tokenizer writes each of the 256 bytes (``bytes_to_unicode``)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]


BYTES = _byte_characters()
_BYTE_OF = {character: number for number, character in enumerate(BYTES)}


def byte_level(name: str) -> bytes:
    """As GPT-2's tokenizer writes tokens: a character for each byte."""
    if all(character in _BYTE_OF for character in name):
        return bytes(_BYTE_OF[character] for character in name)
    return name.encode()  # a token that was added by hand is written as it is


def metaspace(name: str) -> bytes:
    """As SentencePiece writes tokens: a low line for a space, <0x0A> for a byte."""
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes.fromhex(name[3:5])
    return name.replace("\u2581", " ").encode()


def text_bytes(spelled: str | bytes) -> bytes:
    """The UTF-8 of the text alone."""
    return spelled.removeprefix("##").encode() if isinstance(spelled, str) else spelled


def begins_word(spelled: str | bytes) -> bool:
    """Whether a token begins a word: a run of letters and digits with the space before it, or anything else."""
    if isinstance(spelled, str):
        return not spelled.startswith("##")
    if not spelled:
        return True
    first = spelled.decode("utf-8", "ignore")[:1]
    # letters, marks and numbers go on with a word, and so do the bytes that are but a part of a character
    return bool(first) and spelled[0] & 0xC0 != 0x80 and unicodedata.category(first)[0] not in "LMN"
