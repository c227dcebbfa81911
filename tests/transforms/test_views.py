import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torchvision.transforms.v2 import functional as reference

from ssl_lightning.config.choices import choices_that_fit, load_choice
from ssl_lightning.errors import InputError
from ssl_lightning.transforms import ops, views
from ssl_lightning.transforms.views import Chain, EvaluationView, MultiView

CONFIGS = choices_that_fit("transform", lambda made, _: made is MultiView)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(B: int = 10, C: int = 3, H: int = 32, W: int = 32) -> dict[str, torch.Tensor]:
    images = torch.randint(0, 256, (B, C, H, W), generator=seeded(), dtype=torch.uint8)
    return {"image": images, "index": torch.arange(B)}


def simclr(C: int = 3, size: int = 32) -> MultiView:
    chain = Chain(
        crop=ops.RandomResizedCrop(size),
        jitter=ops.ColorJitter(0.4, 0.4, 0.4, 0.1),
        gray=ops.Grayscale(),
        blur=ops.GaussianBlur(),
    )
    return MultiView({"first": chain, "second": chain}, [0.5] * C, [0.2] * C)


@pytest.mark.parametrize("C", [1, 3])
def test_views(C: int) -> None:
    raw = batch(C=C, H=40, W=36)
    out = simclr(C, 24)(raw, seeded())
    assert set(raw) == {"image", "index"}, "the batch that came in must not change"
    assert out["image"] is raw["image"]
    assert [tuple(view.shape) for view in out["views"]] == [(10, C, 24, 24)] * 2
    assert all(view.dtype == torch.float32 and view.is_contiguous() for view in out["views"])
    assert not torch.equal(*out["views"])


def test_the_generator_alone_decides() -> None:
    state = torch.get_rng_state()
    first, again, other = (simclr()(batch(), seeded(s))["views"] for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_pieces_do_not_change_the_views(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simclr()(batch(), seeded())["views"]
    monkeypatch.setattr(views, "PIECE", 3 * 3 * 32 * 32 // torch.get_num_threads())
    torch.testing.assert_close(simclr()(batch(), seeded())["views"], whole)


def test_chains_may_differ_and_end_in_normalized_images() -> None:
    raw = batch(C=1)
    transform = MultiView({"same": Chain(), "inverted": Chain(solarize=ops.Solarize(1.0, threshold=0.0))}, [0.4], [0.2])
    same, inverted = transform(raw, seeded())["views"]
    expected = reference.normalize(raw["image"].float() / 255, [0.4], [0.2])
    torch.testing.assert_close(same, expected)
    torch.testing.assert_close(inverted * 0.2 + 0.4, 1 - (same * 0.2 + 0.4))


@pytest.mark.parametrize(("H", "W"), [(32, 32), (40, 32), (64, 96)])
def test_plain(H: int, W: int) -> None:
    raw = batch(B=2, H=H, W=W)
    side = min(H, W)
    square = reference.center_crop(raw["image"].float() / 255, [side, side])
    expected = reference.normalize(reference.resize(square, [32, 32], antialias=True), [0.5] * 3, [0.2] * 3)
    torch.testing.assert_close(EvaluationView(32, [0.5] * 3, [0.2] * 3)(raw)["image"], expected, atol=1e-5, rtol=0)
    assert raw["image"].dtype == torch.uint8


@pytest.mark.parametrize(("H", "W"), [(32, 32), (40, 32)])
def test_the_central_square_is_what_evaluation_sees(H: int, W: int) -> None:
    raw = batch(B=2, H=H, W=W)
    transform = MultiView({"first": Chain(square=ops.CentralSquare(32))}, [0.5] * 3, [0.2] * 3)
    (view,) = transform(raw, seeded())["views"]
    assert torch.equal(view, EvaluationView(32, [0.5] * 3, [0.2] * 3)(raw)["image"])


@pytest.mark.gpu
def test_gpu_equals_cpu() -> None:
    chain = simclr().views["first"]
    raw, generator = batch(B=64), torch.Generator("cuda").manual_seed(0)
    params = chain.draw((64, 3, 32, 32), generator)
    on_cpu = [{name: value.cpu() for name, value in op.items()} for op in params]
    on_gpu = chain.transform(raw["image"].cuda(), params)
    torch.testing.assert_close(on_gpu.cpu(), chain.transform(raw["image"], on_cpu), atol=1e-5, rtol=0)
    orders = set()
    for _ in range(8):
        torch.rand(1, device="cuda", generator=generator)
        orders.add(tuple(ops.permutation(4, generator)))
    assert len(orders) > 1


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(InputError, match=r"the images have 1 channels, but data.channels and mean 3"):
        simclr(C=3)(batch(C=1), seeded())


@pytest.mark.parametrize("name", CONFIGS)
def test_config(name: str) -> None:
    C, size = (1, 28) if name.endswith("digits") else (3, 32)
    config = OmegaConf.create(
        {"data": {"image_size": size, "mean": [0.5] * C, "std": [0.2] * C}, "transform": load_choice("transform", name)}
    )
    transform = instantiate(config.transform)
    out = transform(batch(B=4, C=C, H=size, W=size), seeded())
    sizes = [view.crop.get("size", size) if "crop" in view else size for view in config.transform.views.values()]
    counts = [view.get("count", 1) for view in config.transform.views.values()]
    expected = [(4, C, S, S) for S, count in zip(sizes, counts, strict=True) for _ in range(count)]
    assert [tuple(view.shape) for view in out["views"]] == expected
    assert all(view.isfinite().all() for view in out["views"])


def test_symmetric_configs_follow_the_first_view() -> None:
    config = OmegaConf.create({"data": {"image_size": 32, "mean": [0.5], "std": [0.2]}})
    config.transform = load_choice("transform", "simclr_cifar")
    config.transform.views.first.jitter.p = 0.25
    transform = instantiate(config.transform)
    assert [chain.ops["jitter"].p for chain in transform.views.values()] == [0.25, 0.25]


def test_local_crops_as_large_as_global_ones_are_refused() -> None:
    config = OmegaConf.create({"data": {"image_size": 16, "mean": [0.5] * 3, "std": [0.2] * 3}})
    config.transform = load_choice("transform", "multicrop_cifar")
    with pytest.raises(InstantiationException, match=r"local crops are as large as the global ones: lower"):
        instantiate(config.transform)
