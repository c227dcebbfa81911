from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.language_model import LanguageModel, masked_mean, student_from_teacher
from ssl_lightning.modules.backbones.text import language_model

V, N = 40, 20
HEADS = {
    "bert": "masked",
    "modernbert": "masked",
    "roberta": "masked",
    "distilbert": "masked",
    "gpt2": "causal",
    "llama": "causal",
    "qwen3": "causal",
    "bart": "seq2seq",
}
OURS = [name for name in HEADS if name not in ("roberta", "distilbert")]


def make(architecture: str, **changes: Any) -> LanguageModel:
    sizes = {"vocab_size": V, "pad_id": 0, "max_length": 24, "width": 16, "layers": 2, "heads": 2}
    return language_model(architecture, head=HEADS[architecture], **{**sizes, **changes})  # type: ignore[arg-type]


def windows(B: int = 3, padded: int = 0) -> Tensor:
    tokens = torch.randint(5, V, (B, N), generator=torch.Generator().manual_seed(0))
    if padded:
        tokens[-1, -padded:] = 0
    return tokens


def own_logits(model: LanguageModel, tokens: Tensor) -> Tensor:
    """What transformers computes."""
    extra = {"decoder_input_ids": tokens} if model.model.config.is_encoder_decoder else {}
    return model.model(input_ids=tokens, attention_mask=(tokens != 0).long(), **extra).logits


def our_logits(model: LanguageModel, tokens: Tensor) -> Tensor:
    visible = tokens != 0
    if not model.model.config.is_encoder_decoder:
        return model.logits(model.hidden(tokens, visible).flatten(0, 1)).view(*tokens.shape, V)
    targets = torch.cat([tokens[:, 1:], tokens[:, :1]], dim=1)
    _, h = model.decoded(tokens, visible, targets)
    return model.logits(h.flatten(0, 1)).view(*tokens.shape, V)


@pytest.mark.parametrize("architecture", HEADS)
@pytest.mark.parametrize("padded", [0, 6])
def test_logits_are_those_of_transformers(architecture: str, padded: int) -> None:
    model, tokens = make(architecture), windows(padded=padded)
    if architecture == "bart":
        model.model.config.decoder_start_token_id = int(tokens[0, 0])
        tokens[:, 0] = tokens[0, 0]
    with torch.no_grad():
        for p in model.parameters():  # norms and biases that do something
            p.add_(0.1 * torch.randn_like(p))
        real = tokens != 0
        torch.testing.assert_close(
            our_logits(model, tokens)[real], own_logits(model, tokens)[real], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("architecture", HEADS)
def test_padding_changes_nothing(architecture: str) -> None:
    model, tokens = make(architecture), windows(B=1)
    longer = torch.cat([tokens, torch.zeros(1, 4, dtype=torch.long)], dim=1)
    both = torch.cat([longer, torch.randint(5, V, (1, 24))])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), model(longer), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(tokens), model(both)[:1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_no_token_sees_what_follows(architecture: str) -> None:
    model, tokens = make(architecture), windows()
    changed = tokens.clone()
    changed[:, 12:] = 7
    with torch.no_grad():
        first, second = (model.hidden(x, x != 0) for x in (tokens, changed))
    torch.testing.assert_close(first[:, :12], second[:, :12], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(first[:, 12:], second[:, 12:])


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "bart"])
def test_encoders_see_both_sides(architecture: str) -> None:
    model, tokens = make(architecture), windows()
    changed = tokens.clone()
    changed[:, -1] = 7 if int(tokens[0, -1]) != 7 else 8
    with torch.no_grad():
        first, second = (model.hidden(x, x != 0) for x in (tokens, changed))
    assert not torch.allclose(first[0, 0], second[0, 0])


@pytest.mark.parametrize("architecture", OURS)
def test_shapes_and_tied_embeddings(architecture: str) -> None:
    model = make(architecture)
    assert (model.out_dim, model.vocab_size, model.pad_id) == (16, V, 0)
    assert model(windows()).shape == (3, 16)
    assert model.model.get_output_embeddings().weight is model.model.get_input_embeddings().weight
    assert all(module.p == 0 for module in model.modules() if isinstance(module, nn.Dropout))
    assert model.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("architecture", OURS)
def test_saved_and_loaded(architecture: str, tmp_path: Path) -> None:
    model, tokens = make(architecture), windows()
    model.model.save_pretrained(tmp_path)
    again = make(architecture, pretrained=str(tmp_path))
    assert torch.equal(model(tokens), again(tokens))
    assert list(model.state_dict()) == list(again.state_dict())


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo looks at the states of the encoder
@pytest.mark.parametrize("architecture", ["bert", "llama", "bart"])
def test_compiled_networks_are_the_same(architecture: str) -> None:
    model, tokens = make(architecture, layers=1), windows(padded=6)
    expected = our_logits(model, tokens)
    graphs = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    model.compile(backend=backend, dynamic=False)
    found = our_logits(model, tokens)
    assert graphs
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch._dynamo.reset()


def test_dropout_where_asked() -> None:
    model = make("bert", dropout=0.5).train()
    assert not torch.equal(model(windows()), model(windows()))


def test_segments_reach_networks_that_have_them() -> None:
    tokens = windows()
    visible, segment = tokens != 0, torch.ones_like(tokens)
    for architecture, differs in (("bert", True), ("modernbert", False)):
        model = make(architecture)
        with torch.no_grad():
            plain, with_segment = model.hidden(tokens, visible), model.hidden(tokens, visible, segment)
        assert torch.equal(plain, with_segment) != differs


@pytest.mark.parametrize(("architecture", "longest"), [("modernbert", 48), ("llama", 47), ("bert", 24), ("gpt2", 23)])
def test_rotary_positions_take_longer_windows(architecture: str, longest: int) -> None:
    model = make(architecture)
    model.extend_windows(48)
    assert model.max_length == model.model.config.max_position_embeddings == longest


def test_mean_of_visible() -> None:
    h, visible = torch.randn(3, 4, 5), torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()
    found = masked_mean(h, visible)
    torch.testing.assert_close(found[0], h[0].mean(0))
    assert torch.equal(found[1], h[1, 0])
    assert not found[2].any()


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "gpt2", "llama", "qwen3"])
def test_a_student_has_every_second_layer(architecture: str) -> None:
    teacher = make(architecture, layers=5)
    student = student_from_teacher(teacher)
    weights = teacher.state_dict()
    assert student.model.config.num_hidden_layers == 2
    for name, value in student.state_dict().items():
        parts = name.split(".")
        at = next((i for i, part in enumerate(parts) if part in LAYERS), None)
        if at is not None:
            parts[at + 1] = str(2 * int(parts[at + 1]))
        assert torch.equal(value, weights[".".join(parts)])
        assert value.data_ptr() != weights[".".join(parts)].data_ptr()
    assert student(windows()).shape == (3, 16)
    assert student.causal == teacher.causal


LAYERS = ("layer", "layers", "h")


def test_a_student_can_be_saved(tmp_path: Path) -> None:
    student = student_from_teacher(make("modernbert", layers=4))
    student.model.save_pretrained(tmp_path)
    again = make("modernbert", pretrained=str(tmp_path))
    assert torch.equal(student(windows()), again(windows()))


def test_a_tokenizer_with_added_tokens(tmp_path: Path) -> None:
    make("bert").model.save_pretrained(tmp_path)
    assert make("bert", pretrained=str(tmp_path), vocab_size=V + 2).vocab_size == V + 2
    with pytest.raises(InputError, match="has 40 tokens, but the tokenizer 100"):
        make("bert", pretrained=str(tmp_path), vocab_size=100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "brt"}, "architecture=brt is unknown to transformers; near it: .*bert"),
        ({"width": 15}, "width=15 does not divide by backbone.heads=2"),
        ({"head": "seq2seq"}, "transformers refuses bert with head=seq2seq"),
        ({"hiden_act": "relu"}, "hiden_act is not an option of transformers' bert; did you mean hidden_act?"),
        ({"pretrained": "/nowhere/at/all"}, "checkpoint /nowhere/at/all cannot be loaded \\(there is no such folder"),
        ({"vocab_size": None}, "come from a tokenizer"),
    ],
)
def test_wrong_use_is_named(changes: dict[str, Any], message: str) -> None:
    sizes = {"vocab_size": V, "pad_id": 0, "width": 16, "layers": 2, "heads": 2}
    with pytest.raises(InputError, match=message) as caught:
        language_model(**{"architecture": "bert", **sizes, **changes})
    assert "\n" not in str(caught.value)


def test_too_long_windows_are_named() -> None:
    with pytest.raises(
        InputError, match=r"30 tokens are more than the 24 that the backbone reads: raise backbone.max_length"
    ):
        make("bert")(torch.ones(1, 30, dtype=torch.long))


@pytest.mark.parametrize("architecture", HEADS)
@pytest.mark.parametrize("pad_id", [0, 1])
def test_the_longest_text_fits_and_one_token_more_is_named(architecture: str, pad_id: int, tmp_path: Path) -> None:
    """RoBERTa's table has `pad_id` + 1 rows that no token has; a checkpoint says nothing of them."""
    model = make(architecture, pad_id=pad_id)
    model.model.save_pretrained(tmp_path)
    for net in (model, make(architecture, pad_id=pad_id, pretrained=str(tmp_path))):
        tokens = torch.full((1, net.max_length + 1), 7)
        assert net.max_length == (23 if HEADS[architecture] == "causal" else 24)
        net.hidden(tokens[:, 1:], tokens[:, 1:] != pad_id)
        with pytest.raises(InputError, match=f"{net.max_length + 1} tokens are more than"):
            net.hidden(tokens, tokens != pad_id)
