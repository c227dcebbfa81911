"""HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units.

Hsu, Bolte, Tsai, Lakhotia, Salakhutdinov and Mohamed, 2021. https://arxiv.org/abs/2106.07447
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from lightning.fabric.utilities import move_data_to_device
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_lightning.distributed import gather, gather_variable_length
from ssl_lightning.errors import InputError
from ssl_lightning.losses.language import chosen_cross_entropy
from ssl_lightning.losses.precision import at_least_float32
from ssl_lightning.methods.base import Method
from ssl_lightning.modules.backbones.audio import AudioEncoder
from ssl_lightning.modules.backbones.language_model import masked_mean
from ssl_lightning.modules.masked_sound import MaskedSound
from ssl_lightning.modules.spectrogram import MFCC
from ssl_lightning.ranges import Fraction, PositiveFloat, PositiveInt

FRAMES = 500_000
"""At most so many frames of the training set are clustered, those of clips drawn at random."""

SOFTER = 2.0
"""Multiplies the temperature of the probabilities that are embedded: surer ones tell less of a new voice."""


class HuBERT(MaskedSound, Method):
    """From a clip with masked spans, predicts the cluster of each frame, found by k-means before the training.

    The first run clusters MFCC; a next one, with the first as `teacher`, what a layer of its encoder makes of the
    frames (Sec. II-D). Deviations: what is clustered is first scaled to variance 1. Of a teacher it loses the mean of
    its clip, which tells the voice. MFCC have the rate of the frames, not twice it, of whose clusters the authors' code
    takes every other. k-means starts 5 times, not 20, for it takes a quarter of the time. The authors' code has a
    penalty of the frames and a smaller gradient of the convolutions, too, as in wav2vec 2.0; the paper does not tell of
    them.

    Args:
        backbone: encoder of sound.
        clusters: number of clusters.
        teacher: a trained encoder, which stays frozen. In a config a run folder or a checkpoint of transformers,
            which `config.build` opens.
        teacher_layer: the layer of the teacher that is clustered, from 1; None: the middle one (Sec. IV-C: 6 of 12).
        start_probability: p, fraction of the frames at which a masked span begins.
        span: l, length of a masked span in frames.
        out_dim: width in which predictions and the embeddings of clusters are compared.
        temperature: tau, divides the cosine similarities.
        alpha: weight of the loss of a masked frame; that of the others is 1 - alpha (Sec. II-B).
        embedding: what of a frame is pooled to the embedding of a clip: the output of the encoder, or the probabilities
            of the clusters, which a new voice moves less because they are bounded. An export holds the encoder alone.
    """

    starts_from = ("backbone.pretrained", "method.teacher")
    figures = {
        "val/masked_accuracy": ("hidden frames guessed", "{:.1%}"),
        "val/cluster_purity": ("purity of the clusters", "{:.1%}"),
        "val/label_information": ("clusters and labels, NMI", "{:.3f}"),
    }

    backbone: AudioEncoder
    clusters: PositiveInt = 100
    teacher: AudioEncoder | None = None
    teacher_layer: PositiveInt | None = None
    start_probability: Fraction = 0.08
    span: PositiveInt = 10
    out_dim: PositiveInt = 256
    temperature: PositiveFloat = 0.1
    alpha: Fraction = 1.0
    embedding: Literal["encoder", "clusters"] = "encoder"

    def __post_init__(self) -> None:
        if self.teacher is None:
            self.mfcc = MFCC(self.backbone.sample_rate or 16_000, hop=self.backbone.hop)
            width = 3 * len(self.mfcc.cosines)
        else:
            _refuse_other_frames(self.teacher, self.backbone)
            self.teacher.requires_grad_(False)
            self.in_evaluation = ("teacher",)
            width = self.teacher.out_dim
            middle = (self.teacher.depth(None) + 1) // 2
            self.teacher_layer = self.teacher.depth(self.teacher_layer or middle, "method.teacher_layer")
        self.projector = nn.Linear(self.backbone.out_dim, self.out_dim)
        self.embeddings = nn.Parameter(torch.empty(self.clusters, self.out_dim).normal_())
        # of what is clustered, (D,) each: mean and standard deviation
        self.center, self.scale = (nn.Buffer(torch.zeros(width)) for _ in range(2))
        self.centroids = nn.Buffer(torch.zeros(self.clusters, width))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """Clips (B, S), of which the first `length` (B,) samples count, to what `embedding` says, pooled."""
        if self.embedding == "encoder":
            return self.backbone(x, length)
        h, visible = self.backbone.hidden(x, length)
        shares = (self.logits(h.flatten(0, 1)) / SOFTER).softmax(dim=1)
        return self.backbone.pooled(shares.unflatten(0, visible.shape), visible)

    @property
    def vocab_size(self) -> int:
        return len(self.centroids)

    def logits(self, h: Tensor) -> Tensor:
        """(M, D) -> (M, K), Eq. 3: cosine similarities with the embeddings of the clusters, by the temperature."""
        z = F.normalize(at_least_float32(self.projector(h)), dim=1)
        return z @ F.normalize(self.embeddings.to(z.dtype), dim=1).T / self.temperature

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Sec. II-B: the cross-entropy of the clusters of the frames, masked or not, weighted by `alpha`."""
        features, visible, masked = self.masked_frames(batch)
        h = self.backbone.context(features, visible, masked)
        targets = self.targets(batch, visible)
        loss, accuracy, weight = chosen_cross_entropy(h, self, targets, masked)
        if self.alpha < 1:
            seen_loss, _, seen = chosen_cross_entropy(h, self, targets, visible & ~masked)
            hidden, seen = self.alpha * weight, (1 - self.alpha) * seen
            weight = hidden + seen
            loss = (hidden * loss + seen * seen_loss) / weight
        embedding = masked_mean(h.detach(), visible)
        return {"loss": loss, "embedding": embedding, "masked_accuracy": accuracy, "weight": weight}

    def show(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The sound, the hidden frames, and their clusters: true and, where hidden, guessed; 0 in padding."""
        features, visible, masked = self.masked_frames(batch)
        clusters = self.targets(batch, visible)
        h = self.backbone.context(features, visible, masked)
        guessed = self.logits(h.flatten(0, 1)).argmax(dim=1).view_as(clusters).where(masked, clusters)
        columns = {"clusters": clusters, "hidden ones guessed": guessed}
        shown = {title: (x + 1) * visible for title, x in columns.items()}
        return {"sound": batch["waveform"], "hidden": masked.float(), **shown}

    def targets(self, batch: Mapping[str, Any], visible: Tensor) -> Tensor:
        """(B, T): the cluster of each frame; that of padding means nothing."""
        return self.distances(batch, visible).argmin(dim=2)

    def distances(self, batch: Mapping[str, Any], visible: Tensor) -> Tensor:
        """(B, T, K): of what is clustered of each frame to each centroid."""
        x = (self._clustered(batch, visible) - self.center) / self.scale
        return torch.cdist(x, self.centroids.expand(len(x), -1, -1))

    @torch.no_grad()
    def _clustered(self, batch: Mapping[str, Any], visible: Tensor) -> Tensor:
        """(B, T, D): the layer of the teacher, or MFCC around the middle of each frame with their first differences and
        second differences, over 9 frames each."""
        waveform = batch["waveform"]
        if self.teacher is not None:
            h = at_least_float32(self.teacher.hidden(waveform, batch["length"], self.teacher_layer)[0])
            return h - masked_mean(h, visible)[:, None]
        T, half = visible.shape[1], self.backbone.window // 2
        found = self.mfcc(F.pad(waveform[:, half:], (0, self.backbone.window)))[:, :, :T]
        last = (visible.sum(dim=1) - 1)[:, None].minimum(torch.arange(T, device=visible.device))  # repeated behind it
        found = found.gather(2, last[:, None].expand(-1, found.shape[1], -1))
        first = _differences(found)
        return torch.cat([found, first, _differences(first)], dim=1).mT

    def learn_from(self, data: Any) -> None:
        """k-means of the training set, by the first rank.

        Raises:
            InputError: fewer frames than clusters.
        """
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0)).split(data.batch_size)
        parts: list[Tensor] = []
        for number, rows in enumerate(order):
            if sum(map(len, parts)) < FRAMES:
                raw = data.train.__getitems__(rows.tolist())
                batch = data.augment(move_data_to_device(raw, self.device), number)
                visible = self.backbone.visible(batch["length"], batch["waveform"].shape[1])
                parts.append(self._clustered(batch, visible)[visible].cpu())
        x = torch.cat(parts)
        if len(x) < self.vocab_size:
            raise InputError(f"{len(x)} frames for {self.vocab_size} clusters: lower method.clusters")
        center, scale = x.mean(dim=0), x.std(dim=0).clamp(min=1e-5)
        kmeans = MiniBatchKMeans(self.vocab_size, batch_size=10_000, n_init=5, random_state=0, reassignment_ratio=0.0)
        centroids = torch.as_tensor(kmeans.fit(((x - center) / scale).numpy()).cluster_centers_)
        for buffer, value in ((self.center, center), (self.scale, scale), (self.centroids, centroids)):
            buffer.copy_(gather(value.to(buffer)[None])[0])

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if "label" in batch:
            visible = self.backbone.visible(batch["length"], batch["waveform"].shape[1])
            labels = batch["label"][:, None].expand_as(visible)
            self.seen.append(torch.stack([self.targets(batch, visible)[visible], labels[visible]], dim=1))

    def on_validation_epoch_end(self) -> None:
        """What the clusters know of the labels (Sec. IV-E, for labels of whole clips).

        `cluster_purity` is the paper's phone purity, as others call it. The information is divided by the mean of both
        entropies, the paper's by that of the labels.
        """
        if self.seen:
            clusters, labels = gather_variable_length(torch.cat(self.seen)).cpu().numpy().T
            self.seen.clear()
            purity = contingency_matrix(labels, clusters).max(axis=0).sum() / len(labels)
            information = float(normalized_mutual_info_score(labels, clusters))
            self.log_dict({"val/cluster_purity": float(purity), "val/label_information": information})


def _differences(x: Tensor, reach: int = 4) -> Tensor:
    """(B, F, T) -> (B, F, T): the slope of a line through the 2 `reach` + 1 frames around each; the ends are repeated.

    Furui 1986, https://doi.org/10.1109/TASSP.1986.1164788, Eq. 13.
    """
    place = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    near = F.pad(x, (reach, reach), mode="replicate").unfold(2, len(place), 1)
    return near @ place / place.square().sum()


def _refuse_other_frames(teacher: AudioEncoder, backbone: AudioEncoder) -> None:
    if (teacher.hop, teacher.window) != (backbone.hop, backbone.window):
        raise InputError(
            f"the teacher has frames of {teacher.window} samples every {teacher.hop}, and the backbone of"
            f" {backbone.window} every {backbone.hop}: they need the same conv_kernel and conv_stride"
        )
