"""A run on image-text pairs: trained, judged with and without labels, asked for captions and pictures, and loaded."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import transformers
from commands.test_evaluate import evaluated
from commands.test_export import run_export
from commands.test_generate_images import run_generate
from PIL import Image
from runs.harness import train
from safetensors.torch import load_file
from torch import nn

import ssl_lightning
from ssl_lightning.data.image.digits import digits
from ssl_lightning.errors import InputError
from ssl_lightning.modules.backbones.image import ConvNet
from ssl_lightning.runs.folder import RunFolder
from ssl_lightning.runs.load import load_method

TINY = (
    "method=clip",
    "trainer=cpu",
    "backbone.width=8",
    "backbone.stages=2",
    "method.text_backbone.width=16",
    "method.text_backbone.heads=2",
    "method.text_backbone.layers=1",
    "data.batch_size=64",
    "callbacks=minimal",
    "trainer.log_every_n_steps=2",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Enough to tell some digits by their names."""
    options = ("data.source.images.copies=1", "data.val_size=64", "trainer.max_epochs=6", "optimizer.lr=5e-3")
    return train(tmp_path_factory.mktemp("clip") / "run", *TINY, *options)


@pytest.mark.usefixtures("one_penalty")
def test_judges_of_labeled_pairs(run: RunFolder) -> None:
    found = evaluated(run, "suite=v1", "draws=1", "finetune_steps=2", "labels=[]", "raw=false")
    metrics, controls = found["metrics"], found["controls"]
    assert {"layers/2_accuracy", "robustness/blur_accuracy", "finetune/accuracy"} <= set(metrics) & set(controls)
    ways = [f"test/{way}" for way in ("image_to_text", "text_to_image")]
    names = [
        f"{way}_{figure}" for way in ways for figure in ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")
    ]
    assert {*names, "test/zero_shot_accuracy", "probe/knn_accuracy", "probe/linear_accuracy"} <= set(metrics)
    assert set(names) <= set(controls)
    assert metrics["test/zero_shot_accuracy"] > max(0.3, controls["test/zero_shot_accuracy_high"])
    assert metrics["test/image_to_text_recall_at_1"] > controls["test/image_to_text_recall_at_1"]
    chance = found["chance"]
    assert chance["test/zero_shot_accuracy"] == pytest.approx(0.1)
    assert chance["test/image_to_text_recall_at_1"] == pytest.approx(2 / 60)  # two of 60 sentences are its own


def pairs_of_files(folder: Path) -> tuple[str, ...]:
    """Overrides for pictures of digits in a folder, numbered by their captions."""
    images = digits(split="test", copies=1).images[:120, 0]
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    lines = [f"{number}.png,picture {number}" for number in range(len(images))]
    (folder / "captions.csv").write_text("\n".join(["image,caption", *lines]))
    size = ("data.image_size=28", "data.source.store_size=28", "data.batch_size=16", "trainer.max_epochs=1")
    return "data=image_text", f"data.root={folder}", f"data.cache={folder}/cache", *size


def test_pairs_without_labels_are_judged_by_retrieval_alone(tmp_path: Path) -> None:
    gray = ("images=digits", "data.channels=1", "data.mean=[0.1]", "data.std=[0.2]")
    run = train(tmp_path / "run", *TINY, *pairs_of_files(tmp_path), *gray)
    metrics = evaluated(run)["metrics"]
    assert metrics["test/text_to_image_recall_at_10"] > 0
    assert not any(name.startswith(("probe/", "test/zero")) for name in metrics)


def test_captions_are_ranked_for_a_picture_and_pictures_for_a_caption(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, folder = digits(split="test", copies=1), tmp_path / "pictures"
    folder.mkdir()
    for label in (0, 1, 7):
        image = pairs.images[int(np.flatnonzero(pairs.labels == label)[0]), 0]
        Image.fromarray(image).save(folder / f"of {label}.png")
    wanted_text, out = "a handwritten seven | the digit one", tmp_path / "out"
    made = run_generate(out, f"run='{run.path}'", given=folder / "of 7.png", text=wanted_text)
    assert made["captions"] == ["a handwritten seven", "the digit one"]
    method, data = load_method(run)
    pixels = data.modality.evaluation_view(data.modality.read_samples([folder / "of 7.png"]))["image"]
    with torch.no_grad():
        texts = method.encode_text(data.text.read_samples(made["captions"])["tokens"])
        wanted = torch.nn.functional.cosine_similarity(method.encode_image(pixels), texts)
    assert made["similarities"][0] == pytest.approx(wanted.tolist(), abs=1e-5)
    made = run_generate(tmp_path / "more", f"run='{run.path}'", given=folder, text="a handwritten zero")
    assert len(made["files"]) == len(made["similarities"]) == 3
    lines = [line for line in capsys.readouterr().out.splitlines() if ".png" in line]
    order = np.argsort([-row[0] for row in made["similarities"]])
    assert [Path(made["files"][row]).name in line for row, line in zip(order, lines[-3:], strict=True)] == [True] * 3
    assert (tmp_path / "more" / made["figure"]).stat().st_size > 1000


def test_load_gives_the_image_encoder(run: RunFolder) -> None:
    encoder = ssl_lightning.load(run.path)
    images = torch.from_numpy(digits(split="test", copies=1).images[:3])
    assert encoder(images).shape == (3, encoder.method.backbone.out_dim)


def test_both_towers_are_exported(run: RunFolder) -> None:
    """Opened without a word of ours, but for the image network, which is ours."""
    folder = run_export(run)
    method, data = load_method(run)
    texts = ["a handwritten seven", "the digit one is drawn by hand here"]
    words = transformers.AutoTokenizer.from_pretrained(folder / "text")(texts, padding=True, return_tensors="pt")
    seen = words["attention_mask"][..., None]
    space, weights = load_file(folder / "space.safetensors"), load_file(folder / "image.safetensors")
    with torch.no_grad():
        hidden = transformers.AutoModel.from_pretrained(folder / "text").eval()(**words).last_hidden_state
        found = (hidden * seen).sum(dim=1) / seen.sum(dim=1) @ space["text.weight"].T
        torch.testing.assert_close(
            found, method.encode_text(data.text.read_samples(texts)["tokens"]), atol=1e-5, rtol=1e-5
        )
        network = ConvNet(in_channels=1, width=8, stages=2).eval()
        network.load_state_dict(weights)
        x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(network(x) @ space["image.weight"].T, method.encode_image(x), atol=1e-5, rtol=1e-5)
    assert space["log_scale"].item() == method.space.log_scale.item()


@pytest.mark.parametrize("method", ["clip", "siglip"])
def test_open_clip_opens_an_export(method: str, tmp_path: Path) -> None:
    tiny = [option for option in TINY if not option.startswith(("method=", "backbone."))]
    network = (f"method={method}", "backbone=timm", "backbone.name=test_resnet")
    run = train(tmp_path / "run", *tiny, *network, *pairs_of_files(tmp_path), "data.length=12")
    folder = run_export(run, "format=open_clip")
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ours, data = load_method(run)
    texts = ["picture 7", "picture one hundred"]
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    own = data.text.read_samples(texts)["tokens"]
    assert torch.equal(tokens[:, : own.shape[1]], own)
    x = torch.stack([preprocess(Image.open(tmp_path / f"{number}.png")) for number in range(3)])
    with torch.no_grad():
        found = theirs.eval()(x, tokens)
        image, text = (nn.functional.normalize(y, dim=1) for y in (ours.encode_image(x), ours.encode_text(own)))
    torch.testing.assert_close(found[0], image, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], text, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[2], ours.space.scale.squeeze())
    if method == "siglip":
        torch.testing.assert_close(found[3], ours.space.bias.squeeze())
    assert "open_clip.create_model" in (folder / "README.md").read_text()


def test_open_clip_takes_networks_of_timm_alone(run: RunFolder) -> None:
    with pytest.raises(InputError, match="open_clip has no ConvNet like this one"):
        run_export(run, "format=open_clip")
    assert load_file(run_export(run, "format=safetensors") / "model.safetensors")  # the image encoder alone
