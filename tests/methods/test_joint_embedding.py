"""What is peculiar to each method that compares views, beside what `test_methods.py` asks of every method."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from methods.recipe import make_batch, make_method, seeded_loss
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.errors import InputError
from ssl_lightning.losses.clustering import koleo, sinkhorn
from ssl_lightning.losses.redundancy import w_mse
from ssl_lightning.modules.multi_crop import encode_by_size
from ssl_lightning.optim.schedules import warmup_cosine
from ssl_lightning.randomness import seed_generators, shared_generator


def at_step(method: Any, step: int, steps_per_epoch: int = 10, total: int = 100) -> Any:
    """The method as if the Trainer stood at this step."""
    method.total_steps, method.steps_per_epoch = total, steps_per_epoch
    method._trainer = SimpleNamespace(global_step=step, log_every_n_steps=0)
    return method


def outputs(method: Any, views: list[Tensor]) -> list[Tensor]:
    return [method.projector(method.backbone(x)) for x in views]


# SimSiam


def test_simsiam_is_the_mean_negative_cosine_and_stops_the_gradient() -> None:
    method, views = make_method("simsiam"), make_batch("simsiam")["views"]
    z1, z2 = outputs(method, views)
    p1, p2 = method.predictor(z1), method.predictor(z2)
    expected = -(F.cosine_similarity(p1, z2).mean() + F.cosine_similarity(p2, z1).mean()) / 2
    torch.testing.assert_close(method.loss({"views": views})["loss"], expected)
    method.predictor = nn.Linear(z1.shape[1], z1.shape[1], bias=False).requires_grad_(False)
    nn.init.zeros_(method.predictor.weight)  # nothing passes the predictor: only through the targets could it flow
    method.loss({"views": views})["loss"].backward()
    assert all(not p.grad.any() for p in method.projector.parameters() if p.grad is not None)


def test_simsiams_predictor_keeps_its_rate() -> None:
    method = make_method("simsiam")
    optimizer = torch.optim.SGD(method.groups(), lr=1.0)
    schedule = warmup_cosine(optimizer, total_steps=10, steps_per_epoch=1)
    for _ in range(9):
        optimizer.step()
        schedule.step()
    of_predictor = {id(p) for p in method.predictor.parameters()}
    rates = {group["lr"] for group in optimizer.param_groups for p in group["params"] if id(p) in of_predictor}
    assert rates == {1.0}
    assert optimizer.param_groups[0]["lr"] < 0.1


# MoCo v3


def test_moco_v3_equals_a_loop_and_freezes_the_patch_embedding() -> None:
    method, views = make_method("moco_v3"), make_batch("moco_v3")["views"]
    q = [F.normalize(method.predictor(z), dim=1) for z in outputs(method, views)]
    k = [F.normalize(method.teacher(x), dim=1) for x in views]
    losses = []
    for queries, keys in ((q[0], k[1]), (q[1], k[0])):
        for i, query in enumerate(queries):
            scores = torch.stack([query @ key for key in keys]) / 0.2
            losses.append(scores.logsumexp(0) - scores[i])
    torch.testing.assert_close(method.loss({"views": views})["loss"], torch.stack(losses).mean())
    assert not any(p.requires_grad for p in method.backbone.embed.parameters())


# NNCLR


def test_a_neighbor_is_never_of_this_batch() -> None:
    """The queue takes a batch after its step: else the neighbor would be the sample itself, at a cosine of 1."""
    method, batch = make_method("nnclr"), make_batch("nnclr")
    first = method.loss(batch)
    assert first["neighbor_similarity"] < 0.9
    before = method.queue.rows.clone()
    method.after_step(0.0)
    changed = (method.queue.rows != before).any(dim=1)
    z1 = F.normalize(outputs(method, batch["views"])[0].detach(), dim=1)
    assert int(changed.sum()) == 16
    torch.testing.assert_close(method.queue.rows[changed], z1, atol=1e-4, rtol=0)
    assert method.loss(batch)["neighbor_similarity"] > 0.999


def test_nnclr_finds_the_prediction_of_a_neighbors_other_view() -> None:
    method, views = make_method("nnclr"), make_batch("nnclr")["views"]
    z = [F.normalize(part, dim=1).detach() for part in outputs(method, views)]
    p = [F.normalize(method.predictor(part), dim=1) for part in outputs(method, views)]
    losses = []
    for rows, predictions in ((z[0], p[1]), (z[1], p[0])):
        for i, row in enumerate(rows):
            neighbor = method.queue.rows[int((method.queue.rows @ row).argmax())]
            scores = torch.stack([neighbor @ prediction for prediction in predictions]) / 0.1
            losses.append(scores.logsumexp(0) - scores[i])
    torch.testing.assert_close(method.loss({"views": views})["loss"], torch.stack(losses).mean())


def test_no_query_is_among_its_own_negatives() -> None:
    """Perfect and different embeddings have a loss near 0; a query among its negatives could not fall under ln 2."""
    from ssl_lightning.losses.contrastive import info_nce

    perfect = torch.eye(8, 16)
    assert info_nce(perfect, perfect, 0.02).item() < 1e-6


# DINO and DINOv2


def test_dino_centers_the_teacher() -> None:
    method, batch = make_method("dino"), make_batch("dino")
    method.center.copy_(torch.linspace(-1, 1, len(method.center)))
    scores = method.teacher[1](method.teacher[0](torch.cat(batch["views"][:2])))
    targets = F.softmax((scores - method.center) / 0.04, dim=1).chunk(2)
    students = [method.head(method.backbone(x)) for x in batch["views"]]
    pairs = [(i, j) for i in range(2) for j in range(len(students)) if i != j]
    losses = [-(targets[i] * F.log_softmax(students[j] / 0.1, dim=1)).sum(dim=1).mean() for i, j in pairs]
    torch.testing.assert_close(method.loss(batch)["loss"], torch.stack(losses).mean(), atol=1e-4, rtol=1e-4)
    before = method.center.clone()
    method.after_step(0.0)
    torch.testing.assert_close(method.center, 0.9 * before + 0.1 * scores.mean(dim=0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["dino", "dinov2"])
def test_prototypes_do_not_move_in_the_first_epoch(name: str) -> None:
    method = make_method(name, freeze_epochs=1)
    optimizer = torch.optim.SGD(method.groups(), lr=1.0, weight_decay=0.1)
    for step, frozen in ((0, True), (9, True), (10, False)):
        method.zero_grad()
        method.loss(make_batch(name))["loss"].backward()
        at_step(method, step).on_before_optimizer_step(optimizer)
        method._trainer = None
        assert (method.head[1].weight.grad is None) == frozen
        assert method.head[0][0].weight.grad is not None


@pytest.mark.parametrize(("step", "temperature"), [(0, 0.04), (10, 0.05), (20, 0.06), (90, 0.06)])
def test_the_teachers_temperature_rises(step: int, temperature: float) -> None:
    losses = []
    for ends in ([0.04, 0.06], [temperature, temperature]):
        torch.manual_seed(0)
        method = make_method("dino", teacher_temperature=ends, teacher_warmup_epochs=2)
        losses.append(at_step(method, step).loss(make_batch("dino"))["teacher_entropy"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_weight_decay_rises_and_leaves_vectors_alone() -> None:
    method = make_method("dino", weight_decay_end=0.4)
    optimizer = torch.optim.AdamW(method.groups(), weight_decay=0.04)
    for step, expected in ((0, 0.04), (50, 0.22), (100, 0.4)):
        at_step(method, step).on_before_optimizer_step(optimizer)
        decays = {p.ndim > 1: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        assert decays == {True: pytest.approx(expected), False: 0.0}


def test_attention_sums_to_what_the_class_token_leaves() -> None:
    method, batch = make_method("dino"), make_batch("dino")
    shown = method.show(batch)
    assert list(shown) == ["image", "head 0", "head 1"]
    assert shown["head 0"].shape == batch["views"][0].shape
    attention = method.teacher[0].attention(batch["views"][0])
    assert attention.shape == (16, 2, 49)
    assert (attention.sum(dim=2) < 1).all()
    assert (attention > 0).all()


def test_dinov2_hides_patches_from_the_student_alone() -> None:
    """With nothing masked the patch loss is 0, and the image loss is that of Sinkhorn-Knopp targets."""
    method, batch = make_method("dinov2", mask_probability=0.0), make_batch("dinov2")
    result = method.loss(batch)
    assert result["patches"] == 0
    scores = method.teacher[1](method.teacher[0](torch.cat(batch["views"][:2])))
    targets = sinkhorn(scores, 0.04).chunk(2)
    students = [method.head(method.backbone(x)) for x in batch["views"]]
    pairs = [(i, j) for i in range(2) for j in range(len(students)) if i != j]
    losses = [-(targets[i] * F.log_softmax(students[j] / 0.1, dim=1)).sum(dim=1).mean() for i, j in pairs]
    torch.testing.assert_close(result["images"], torch.stack(losses).mean(), atol=1e-4, rtol=1e-4)
    whole = make_method("dinov2", mask_probability=1.0)
    assert whole.loss(batch)["patches"] > 0


def test_dinov2s_patches_count_by_crop_and_koleo_by_view() -> None:
    """As in the authors' code: a crop's loss is the mean over its masked patches, 0 without any."""
    method, batch = make_method("dinov2"), make_batch("dinov2")
    result = seeded_loss(method, batch)
    seed_generators(0, 0)
    x, masked = (torch.cat(parts) for parts in (batch["views"][:2], [method._mask(v) for v in batch["views"][:2]]))
    vit, student, token = method.teacher[0], method.backbone, method.mask_token
    targets = sinkhorn(method.teacher[2](vit.encode(vit.patch_tokens(x))[:, 1:][masked]), 0.04)
    h = student.encode(torch.where(masked[:, :, None], token, student.patch_tokens(x)))
    losses = -(targets * F.log_softmax(method.patch_head(h[:, 1:][masked]) / 0.1, dim=1)).sum(dim=1)
    of_crops = [part.mean() for part in losses.split(masked.sum(dim=1).tolist()) if len(part)]
    assert 0 < len(of_crops) < len(x)
    torch.testing.assert_close(result["patches"], torch.stack(of_crops).sum() / len(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(result["koleo"], koleo(h[:16, 0]) + koleo(h[16:, 0]), atol=1e-4, rtol=1e-4)
    total = result["images"] + result["patches"] + 0.1 * result["koleo"]
    torch.testing.assert_close(result["loss"], total)


# SwAV


def test_swav_with_a_queue() -> None:
    method, batch = make_method("swav", queue_size=64, queue_epochs=1), make_batch("swav")
    h = encode_by_size(method.backbone, batch["views"])
    scores = [method.head(z) for z in method.projector(torch.cat(h)).chunk(len(h))]
    alone = sinkhorn(scores[0].detach(), 0.05)
    torch.testing.assert_close(method._assign(scores[0].detach(), 0), alone)
    at_step(method, 10)
    beside = torch.cat([scores[0].detach(), method.head(method.queues[0].rows).detach()])
    torch.testing.assert_close(method._assign(scores[0].detach(), 0), sinkhorn(beside, 0.05)[:16])
    method._trainer = None
    method.loss(batch)
    method.after_step(0.0)
    assert [int(queue.pointer) for queue in method.queues] == [16, 16]


def test_swavs_queue_joins_once_it_is_full() -> None:
    """Before, its rows are random directions, which would take their share of the prototypes."""
    method, scores = make_method("swav", queue_size=64, queue_epochs=0), torch.randn(16, 128)
    for batches, full in ((3, False), (4, True)):
        assert torch.equal(at_step(method, batches)._assign(scores, 0), sinkhorn(scores, 0.05)) != full


# DeepCluster v2


def test_deepcluster_predicts_the_clusters_of_the_epoch_before() -> None:
    method, batch = make_method("deepcluster_v2"), make_batch("deepcluster_v2")
    z = method.projector(method.backbone(torch.cat(batch["views"])))
    losses = []
    for m, centroids in enumerate(method.centroids.split(method.clusters)):
        scores = F.normalize(z, dim=1) @ centroids.T / 0.1
        losses += [F.cross_entropy(part, method.assigned[m]) for part in scores.chunk(2)]
    torch.testing.assert_close(method.loss(batch)["loss"], torch.stack(losses).mean(), atol=1e-5, rtol=1e-4)


def test_deepcluster_clusters_at_the_end_of_an_epoch_and_remembers() -> None:
    method, batch = make_method("deepcluster_v2"), make_batch("deepcluster_v2")
    for step, clustered in ((3, False), (9, True)):
        at_step(method, 0)
        method._trainer = None
        method.loss(batch)
        z = F.normalize(method.projector(method.backbone(torch.cat(batch["views"]))).detach(), dim=1)
        before = method.centroids.clone()
        at_step(method, step).after_step(0.0)
        torch.testing.assert_close(method.memory.flatten(0, 1), z, atol=1e-4, rtol=0)
        assert torch.equal(method.centroids, before) != clustered
    nearest = (method.memory[0] @ method.centroids[: method.clusters[0]].T).argmax(dim=1)
    assert torch.equal(method.assigned[0], nearest)


def test_deepclusters_memory_comes_back_from_a_checkpoint() -> None:
    method, other = make_method("deepcluster_v2"), make_method("deepcluster_v2")
    other.memory, other.assigned = other.memory[:, :0], other.assigned[:, :0]
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.memory, method.memory)
    assert torch.equal(other.assigned, method.assigned)


# W-MSE, LeJEPA, SupCon, data2vec


def test_wmse_projects_all_views_as_one_batch() -> None:
    """As in the authors' code: the hidden layer's norm has the statistics of all of them."""
    method, batch = make_method("wmse"), make_batch("wmse")
    loss = seeded_loss(method, batch)["loss"]
    z = method.projector(torch.cat([method.backbone(x) for x in batch["views"]])).chunk(2)
    seed_generators(0, 0)
    order = torch.randperm(16, generator=shared_generator())
    torch.testing.assert_close(loss, w_mse(z, order, 8))


def test_wmse_refuses_what_cannot_be_whitened() -> None:
    with pytest.raises(InstantiationException, match=r"method.group_size=8 must be above method.out_dim=8"):
        make_method("wmse", out_dim=8, group_size=8)
    with pytest.raises(InputError, match=r"a batch of 16 cannot whiten method.out_dim=20"):
        make_method("wmse", out_dim=20, group_size=40).loss(make_batch("wmse"))


def test_lejepa_measures_distances_to_the_center_of_the_global_views() -> None:
    method, batch = make_method("lejepa", weight=0.25), make_batch("lejepa")
    torch.manual_seed(5)
    result = method.loss(batch)
    h = encode_by_size(method.backbone, batch["views"])
    z = method.projector(torch.cat(h)).chunk(len(h))
    center = (z[0] + z[1]) / 2
    expected = torch.stack([(part - center).square().mean() for part in z]).mean()
    torch.testing.assert_close(result["prediction"], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(result["loss"], 0.75 * result["prediction"] + 0.25 * result["sigreg"])


def test_supcon_without_equal_labels_is_simclr() -> None:
    from ssl_lightning.losses.contrastive import nt_xent, supervised_contrastive

    z = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alone = supervised_contrastive(z[0], z[1], torch.arange(6), 0.3)
    torch.testing.assert_close(alone, nt_xent(z[0], z[1], 0.3))
    label = torch.tensor([0, 1, 0, 2, 1, 0])
    unit, labels = F.normalize(z.flatten(0, 1), dim=1), torch.cat([label, label])
    losses = []
    for i in range(12):
        others = [j for j in range(12) if j != i]
        total = sum(math.exp(float(unit[i] @ unit[j]) / 0.3) for j in others)
        positives = [j for j in others if labels[j] == labels[i]]
        losses.append(-sum(float(unit[i] @ unit[j]) / 0.3 - math.log(total) for j in positives) / len(positives))
    assert supervised_contrastive(z[0], z[1], label, 0.3).item() == pytest.approx(sum(losses) / 12, rel=1e-12)


def test_data2vec_predicts_the_mean_of_the_last_layers() -> None:
    method, batch = make_method("data2vec", layers=1), make_batch("data2vec")
    vit = method.teacher
    tokens = torch.cat([vit.class_token.expand(16, 1, -1), vit.patch_tokens(batch["views"][0]) + vit.position], dim=1)
    first = vit.blocks[0](tokens)
    layers = [F.layer_norm(h[:, 1:], (16,)) for h in (first, vit.blocks[1](first))]
    torch.testing.assert_close(method.targets(batch), F.layer_norm(layers[1], (16,)))
    both = make_method("data2vec", layers=2)
    both.teacher = vit
    torch.testing.assert_close(both.targets(batch), F.layer_norm((layers[0] + layers[1]) / 2, (16,)))


def test_data2vec_hears_no_padding_and_normalizes_each_clip() -> None:
    method = make_method("data2vec_audio", layers=2).double()
    batch = make_batch("data2vec_audio", dtype=torch.float64)
    features, visible = method.teacher.features(batch["waveform"], batch["length"])
    targets, added_to = method.targets(batch), []
    for layer in method.teacher.model.encoder.layers:
        layer.final_layer_norm.register_forward_pre_hook(lambda _, inputs: added_to.append(inputs[0]))
    outputs = [h - x for h, x in zip(method.teacher.layers(features, visible)[:2], added_to, strict=True)]
    for row, seen in enumerate(visible):
        of_clip = [F.instance_norm(h[row, seen].T[None])[0].T if seen.sum() > 1 else 0 * h[row, seen] for h in outputs]
        torch.testing.assert_close(targets[row, seen], (of_clip[0] + of_clip[1]) / 2, atol=1e-5, rtol=1e-4)
    loud = {**batch, "waveform": batch["waveform"].clone()}
    loud["waveform"][torch.arange(800) >= batch["length"][:, None]] = 5.0
    torch.testing.assert_close(seeded_loss(method, loud)["loss"], seeded_loss(method, batch)["loss"])


def test_a_small_last_batch_of_validation_ends_no_run() -> None:
    method = make_method("wmse", out_dim=20, group_size=40).eval()
    assert method.loss(make_batch("wmse"))["loss"] == 2


def test_more_clusters_than_samples() -> None:
    with pytest.raises(InputError, match=r"16 samples for 17 clusters: lower method.clusters"):
        make_method("deepcluster_v2", clusters=[17])
