import pytest

from ssl_lightning.data.text.spelling import BYTES, begins_word, byte_level, metaspace, text_bytes


def test_every_byte_has_its_own_printable_character():
    assert len(set(BYTES)) == 256
    assert all(len(character) == 1 and not character.isspace() for character in BYTES)
    assert BYTES[ord("a")] == "a"
    assert (BYTES[ord(" ")], BYTES[ord("\n")]) == ("\u0120", "\u010a")  # as in GPT-2's vocabulary


def test_tokens_as_bytes():
    assert byte_level("".join(BYTES)) == bytes(range(256))
    assert byte_level("<|a b|>") == b"<|a b|>"
    assert metaspace("\u2581the") == b" the"
    assert metaspace("<0xC3>") == b"\xc3"
    assert text_bytes("##\u00e9") == "\u00e9".encode()


@pytest.mark.parametrize("spelled", ["the", "##", b" the", b"\n", b"'s", b".", "\U0001f600".encode(), b""])
def test_beginnings(spelled):
    assert begins_word(spelled) == (spelled != "##")


@pytest.mark.parametrize("spelled", ["##the", b"the", b"7", b"\xc3", b"\xa9", "\u00e9t".encode(), "\u0301".encode()])
def test_continuations(spelled):
    assert not begins_word(spelled)
