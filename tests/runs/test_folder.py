"""What stands in an argument reaches the config as it was typed."""

import random

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ssl_lightning.runs.folder import quoted

PIECES = ["a", " ", "'", '"', "\\", "$", "{", "}", "${", ",", "[", "]", "(", ")", "=", "\n", "é", "%", "#", ":", "?"]


def test_quoted_text_comes_through_hydra_as_it_is() -> None:
    parser, rng = OverridesParser.create(), random.Random(0)
    for _ in range(1000):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 8)))
        config = OmegaConf.create({"text": str(parser.parse_override(f"text={quoted(text)}").value())})
        assert config.text == text
