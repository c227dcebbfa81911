"""`--help` tells of each method what it learns from and what it does."""

import pytest
from composition import whole
from runs.harness import command

from ssl_lightning.cli.help import describe
from ssl_lightning.config.paths import CONFIG_DIR

MODALITIES = {
    "audio": "sound",
    "image": "images",
    "image_text": "image-text",
    "text": "text",
    "video": "video",
}
"""By the package of the data, the word before the sentence."""
METHODS = sorted(file.stem for file in (CONFIG_DIR / "method").glob("[!_]*.yaml"))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_says_its_modality_and_what_it_does(method):
    modality, sentence = describe(method)
    assert sentence.endswith(".")
    data = whole(f"method={method}").data._target_
    assert modality == MODALITIES[data.split(".")[2]]


def test_help_lists_them_and_no_parts_of_configs(tmp_path):
    shown = command("pretrain", "--help", cwd=tmp_path).stdout
    for method in METHODS:
        assert "  ".join(describe(method)).split() == next(
            line.split()[1:] for line in shown.splitlines() if line.split()[:1] == [method]
        )
    assert "image_folder" in shown
    assert " _" not in shown
    assert list(tmp_path.iterdir()) == []
