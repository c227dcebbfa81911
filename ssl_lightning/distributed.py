import time

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

torch.set_num_threads(1)
import torch.nn.functional as NF

from ssl_lightning.transforms import functional as F


def t(n, f, B, k=6):
    f()
    b = 1e9
    for _ in range(k):
        s = time.perf_counter()
        f()
        b = min(b, (time.perf_counter() - s))
    print(f"{n:28s} {b * 1e6:8.1f} us {b / B * 1e6:7.2f} us/view")


def conv(x, sig, k):
    B, C, H, W = x.shape
    r = k // 2
    o = torch.arange(-r, r + 1.0)
    ker = (-0.5 * (o / sig[:, None]) ** 2).softmax(1).repeat_interleave(C, 0)
    x = NF.pad(x, (r, r, r, r), mode="reflect").reshape(1, B * C, H + 2 * r, W + 2 * r)
    x = NF.conv2d(x, ker[:, None, None], groups=B * C)
    x = NF.conv2d(x, ker[:, None, :, None], groups=B * C)
    return x.view(B, C, H, W)


for B, S, k in ((85, 32, 3), (8, 96, 9), (2, 224, 23)):
    x = torch.rand(3, B, S, S).transpose(0, 1)
    s = torch.rand(B) * 1.9 + 0.1
    print((conv(x, s, k) - F.gaussian_blur(x, s, k)).abs().max())
    t(f"matrix {S}", lambda: F.gaussian_blur(x, s, k), B)
    t(f"conv {S}", lambda: conv(x, s, k), B)
for name, C, S, W, B in (
    ("simclr_cifar", 3, 32, 32, 256),
    ("simclr", 3, 32, 32, 256),
    ("moco_cifar", 3, 32, 32, 256),
    ("byol_cifar", 3, 32, 32, 256),
    ("digits", 1, 28, 28, 256),
    ("simclr", 3, 96, 96, 64),
    ("simclr", 3, 224, 256, 16),
):
    c = OmegaConf.create({"data": {"image_size": S, "mean": [0.5] * C, "std": [0.2] * C}})
    c.transform = OmegaConf.load(f"conf/transform/{name}.yaml")
    m = instantiate(c.transform)
    g = torch.Generator().manual_seed(0)
    im = torch.randint(0, 256, (B, C, W, W), dtype=torch.uint8)
    t(f"{name} {W}->{S}", lambda: m({"image": im}, g), 2 * B, 20)
