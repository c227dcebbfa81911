"""Where methods and networks draw from: torch's global generators differ between ranks, the shared ones do not.

Dropout draws from the global generators. Masks, projections and permutations that ranks must draw alike come from
`shared_generator`. The DataModule seeds both before each batch.
"""

import torch

_shared: dict[torch.device, torch.Generator] = {}


def shared_generator(device: torch.device | str = "cpu") -> torch.Generator:
    """The generator on `device` that gives the same numbers on every rank."""
    place = torch.device(device)
    if place not in _shared:
        _shared[place] = torch.Generator(place)
    return _shared[place]


def seed_generators(seed: int, shared_seed: int, device: torch.device | str = "cpu") -> None:
    """Seeds the global generators by `seed`, the shared ones by `shared_seed`: those of the CPU and of `device`.

    `torch.manual_seed` takes 60 microseconds more where CUDA is not in use.
    """
    place = torch.device(device)
    torch.default_generator.manual_seed(seed)
    if place.type != "cpu":
        torch.get_device_module(place).manual_seed(seed)
    for used in {torch.device("cpu"), place}:
        shared_generator(used).manual_seed(shared_seed)
