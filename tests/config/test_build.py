"""A config from elsewhere cannot run code, and parts that do not fit are refused before anything is built."""

import pytest
from omegaconf import OmegaConf

from ssl_lightning.config.trust import validate_targets
from ssl_lightning.config.validate import validate_arguments
from ssl_lightning.errors import InputError


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.system", "command": "true"},
        {"_target_": "ssl_lightning.runs.provenance.subprocess.run", "args": "true"},
        {"_target_": "torch.optim.optimizer.torch.load", "f": "evil.pt"},
        {"_target_": "torch.load", "f": "evil.pt"},
        {"_target_": "ssl_lightning.nowhere.Method"},
        {"deep": [{"_target_": "builtins.eval", "_args_": ["1"]}]},
    ],
)
def test_what_is_not_ours_is_not_built(node):
    with pytest.raises(InputError):
        validate_targets(OmegaConf.create({"method": node}))


def test_what_is_ours_is_built():
    validate_targets(
        OmegaConf.create(
            {
                "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True},
                "method": {"_target_": "ssl_lightning.methods.simclr.SimCLR"},
                "data": {"root": "${oc.env:SSL_DATA,data}", "size": "${data.root}"},
            }
        )
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"in_channels": "three"}, "backbone.in_channels=three should be a whole number"),
        ({"width": 1.5}, "backbone.width=1.5 should be a whole number"),
        ({"wdth": 3}, "backbone.wdth is not an argument of .*did you mean width"),
        ({"width": None}, "backbone.width=null should be a whole number"),
        ({"width": True}, "backbone.width=true should be a whole number"),
    ],
)
def test_values_are_held_against_the_signature(values, message):
    node = {"_target_": "ssl_lightning.modules.backbones.image.ConvNet", **values}
    with pytest.raises(InputError, match=message):
        validate_arguments(OmegaConf.create({"backbone": node}))


def test_values_of_other_types_are_left_to_the_constructor():
    node = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1, "betas": [0.9, 0.95], "weight_decay": 0.1}
    validate_arguments(OmegaConf.create({"optimizer": node}))
