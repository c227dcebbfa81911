import torch

from ssl_lightning.data.image.modality import ImageModality


def test_stronger_is_further_from_the_image_and_always_the_same() -> None:
    modality = ImageModality(16, 3, [0.5] * 3, [0.5] * 3)
    batch = {"image": torch.randint(256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()}
    clean = batch["image"] / 255
    for kind, corruptions in modality.corruptions.items():
        changed = [corrupt(batch)["image"] for corrupt in corruptions]
        assert all(images.min() >= 0 and images.max() <= 1 for images in changed), kind
        distances = [float((images - clean).square().mean()) for images in changed]
        assert distances[0] > 0
        assert distances == sorted(distances)
        assert torch.equal(changed[2], corruptions[2](batch)["image"])
    noise = modality.corruptions["noise"][0]({"image": torch.full((64, 3, 16, 16), 128, dtype=torch.uint8)})["image"]
    assert abs(float(noise.std()) - 0.08) < 0.002
    assert set(modality.corruptions) == {"noise", "blur", "contrast"}
