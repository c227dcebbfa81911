"""Networks that methods enter by other doors than `forward`."""

from collections.abc import Iterable
from typing import Any

from torch import nn


class CalledByParts(nn.Module):
    """A network whose parts are called instead of its `forward`, where FSDP and torch.compile expect to begin."""

    fsdp_shard_with_root = True

    def compiled_parts(self) -> Iterable[nn.Module]:
        """The parts that are called, by default all children."""
        return self.children()

    def compile(self, *args: Any, **kwargs: Any) -> None:
        super().compile(*args, **kwargs)
        for part in self.compiled_parts():
            part.compile(*args, **kwargs)
