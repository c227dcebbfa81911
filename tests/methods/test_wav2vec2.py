"""wav2vec 2.0: the loss of transformers on the same tensors, and what a collapse looks like."""

import math
from typing import Any

import pytest
import torch
import transformers
from hydra.errors import InstantiationException
from methods.recipe import make_batch, make_method, seeded_loss
from torch import Tensor
from torch.nn import functional as F

from ssl_lightning.callbacks.health import Health
from ssl_lightning.errors import InputError
from ssl_lightning.losses.contrastive import among_distractors
from ssl_lightning.methods import wav2vec2
from ssl_lightning.methods.base import Method
from ssl_lightning.modules import masked_sound
from ssl_lightning.randomness import shared_generator


def theirs(method: Method) -> Any:
    """Wav2Vec2ForPreTraining with the same weights."""
    config = method.backbone.model.config
    G, V, width = method.quantizer.codebook.shape
    for name, value in {
        "num_codevector_groups": G,
        "num_codevectors_per_group": V,
        "codevector_dim": G * width,
        "proj_codevector_dim": method.projector.out_features,
        "contrastive_logits_temperature": method.temperature,
        "diversity_loss_weight": method.diversity_weight,
        "feat_quantizer_dropout": 0.0,
    }.items():
        setattr(config, name, value)
    model = transformers.Wav2Vec2ForPreTraining(config)
    model.wav2vec2 = method.backbone.model
    model.quantizer.weight_proj, model.project_hid, model.project_q = (
        method.quantizer.scores,
        method.projector,
        method.target_projector,
    )
    model.quantizer.codevectors.data.copy_(method.quantizer.codebook.reshape(1, G * V, width))
    return model


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_that_of_transformers(monkeypatch: pytest.MonkeyPatch, training: bool) -> None:
    method = make_method("wav2vec2", penalty_weight=0.0, feature_gradient=1.0, softmax_temperature=0.8)
    method.train(training)
    drawn: dict[str, Tensor] = {}

    def keep(home: Any, name: str) -> Any:
        function = getattr(home, name)

        def kept(*args: Any) -> Tensor:
            drawn[name] = function(*args)
            return drawn[name]

        return kept

    for home, name in ((masked_sound, "span_mask"), (wav2vec2, "distractors"), (wav2vec2, "gumbel")):
        monkeypatch.setattr(home, name, keep(home, name))
    batch = make_batch("wav2vec2", B=6)
    result = seeded_loss(method, batch)
    masked, places = drawn["span_mask"], drawn["distractors"]
    B, T = masked.shape
    model = theirs(method).train(training)
    model.set_gumbel_temperature(0.8)
    if training:
        noise = drawn["gumbel"].reshape(-1, method.quantizer.codebook.shape[1])
        monkeypatch.setattr(F, "gumbel_softmax", lambda x, tau, hard: straight_through((x + noise) / tau))
    heard = torch.arange(batch["waveform"].shape[1]) < batch["length"][:, None]
    x = batch["waveform"]
    mean = (x * heard).sum(1, keepdim=True) / heard.sum(1, keepdim=True)
    std = (((x - mean) * heard).square().sum(1, keepdim=True) / heard.sum(1, keepdim=True) + 1e-7).sqrt()
    found = model(
        ((x - mean) / std * heard),
        attention_mask=heard.long(),
        mask_time_indices=masked,
        sampled_negative_indices=places + T * torch.arange(B)[:, None, None],
    )
    M = masked.sum()
    torch.testing.assert_close(result["contrastive_loss"], found.contrastive_loss / M, atol=1e-5, rtol=1e-5)
    if training:  # in evaluation theirs counts codes, ours stays with probabilities, as the authors do
        torch.testing.assert_close(result["loss"], found.loss / M, atol=1e-5, rtol=1e-5)
    else:
        torch.testing.assert_close(result["code_perplexity"], found.codevector_perplexity, atol=1e-4, rtol=1e-5)
    assert result["weight"] == M


def straight_through(scores: Tensor) -> Tensor:
    soft = scores.softmax(dim=-1)
    return F.one_hot(soft.argmax(dim=-1), soft.shape[-1]) - soft.detach() + soft


def test_a_naive_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    c, q = (torch.randn(2, 6, 4, generator=generator) for _ in range(2))
    codes = torch.tensor([[0, 1, 1, 2, 3, 4], [0, 0, 0, 0, 5, 6]])[:, :, None]
    q = torch.where(codes == 0, q[:, :1], q)
    masked = torch.tensor([[0, 1, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0]], dtype=torch.bool)
    places = torch.tensor([1, 2, 3, 5]).expand(2, 6, 4).clone()
    places[1] = torch.tensor([0, 1, 2, 0])
    losses = []
    for b in range(2):
        for t in range(6):
            if masked[b, t]:
                others = [p for p in places[b, t].tolist() if codes[b, p] != codes[b, t]]
                scores = torch.stack([F.cosine_similarity(c[b, t], q[b, p], dim=0) / 0.1 for p in [t, *others]])
                losses.append(-scores.log_softmax(0)[0])
    loss, _ = among_distractors(c, q, codes, masked, places, 0.1)
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    assert losses[-1] == 0  # all codes alike: nothing to tell


def test_alike_predictions_give_the_logarithm_of_the_candidates() -> None:
    codes = torch.arange(6).view(1, 6, 1)
    places = torch.stack([torch.tensor([t + 1, t + 2, t + 3]) % 6 for t in range(6)])[None]
    masked = torch.ones(1, 6, dtype=torch.bool)
    loss, _ = among_distractors(torch.ones(1, 6, 2), torch.ones(1, 6, 2), codes, masked, places, 0.1)
    assert float(loss) == pytest.approx(math.log(4))


def test_padding_is_not_heard() -> None:
    method, batch = make_method("wav2vec2").eval(), make_batch("wav2vec2")
    loud = {**batch, "waveform": batch["waveform"].clone()}
    beyond = torch.arange(loud["waveform"].shape[1]) >= batch["length"][:, None]
    assert beyond.any()
    loud["waveform"][beyond] = 5.0
    torch.testing.assert_close(seeded_loss(method, loud)["loss"], seeded_loss(method, batch)["loss"])
    torch.testing.assert_close(method.embed(loud, "waveform"), method.embed(batch, "waveform"))


def test_penalty_and_scaled_gradient_of_the_convolutions() -> None:
    def gradient(**changes: Any) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        method = make_method("wav2vec2", diversity_weight=0.0, **changes)
        loss = seeded_loss(method, make_batch("wav2vec2"))["loss"]
        loss.backward()
        return loss.detach(), next(method.backbone.model.feature_extractor.parameters()).grad

    without, whole = gradient(penalty_weight=0.0, feature_gradient=1.0)
    _, tenth = gradient(penalty_weight=0.0, feature_gradient=0.1)
    torch.testing.assert_close(tenth, 0.1 * whole, atol=1e-8, rtol=1e-3)
    punished, _ = gradient(penalty_weight=3.0, feature_gradient=1.0)
    torch.manual_seed(0)
    method, batch = make_method("wav2vec2"), make_batch("wav2vec2")
    features, visible = method.backbone.features(batch["waveform"], batch["length"])
    seed_masks = seeded_masks(visible, method)
    each = [f[v].square().mean() for f, v in zip(features, visible, strict=True)]
    expected = (torch.stack(each) * seed_masks.sum(1)).sum() / seed_masks.sum()
    torch.testing.assert_close(punished - without, 3 * expected.detach(), atol=1e-4, rtol=1e-3)


def seeded_masks(visible: Tensor, method: Method) -> Tensor:
    shared_generator("cpu").manual_seed(0)
    return masked_sound.span_mask(visible, method.start_probability, method.span)


def test_one_code_is_a_collapse(capsys: pytest.CaptureFixture) -> None:
    """The contrastive loss is then 0, and the alarm names the perplexity, though the embedding is alive."""
    method = make_method("wav2vec2", penalty_weight=0.0).eval()
    health = Health(stop=True)
    healthy = seeded_loss(method, make_batch("wav2vec2"))
    with torch.no_grad():
        method.quantizer.scores.weight.zero_()
        method.quantizer.scores.bias.copy_(torch.eye(method.quantizer.scores.out_features)[0])
    dead = seeded_loss(method, make_batch("wav2vec2"))
    assert float(dead["contrastive_loss"].detach()) == 0 < float(healthy["contrastive_loss"].detach())
    assert float(dead["code_perplexity"]) == pytest.approx(2)
    alive = {"health/embedding_std": 1.0, "health/effective_rank": 9.0}
    for result in (healthy, dead, dead):
        assert not health.suspected or result is dead
        figures = {**alive, "health/code_perplexity": float(result["code_perplexity"])}
        if not health.suspected:
            health._judge(figures, method.collapse_below)
    with pytest.raises(InputError, match=r"the method has collapsed: health/code_perplexity = 2 < 3, twice in a row"):
        health._judge(figures, method.collapse_below)


def test_codewords_of_unequal_width_are_refused() -> None:
    with pytest.raises(InstantiationException, match=r"method\.code_dim=8 does not divide into"):
        make_method("wav2vec2", groups=3)
