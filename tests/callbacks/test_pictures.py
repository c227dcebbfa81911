"""What the transform of a method makes is drawn at the start, where it can be drawn beside what it was made of."""

from types import SimpleNamespace

import pytest
import torch
from composition import task

from ssl_lightning.callbacks.pictures import Pictures
from ssl_lightning.config.build import build_data

DRAWN = {
    "simclr": {"image", "view 1", "view 2"},
    "mae": {"image", "view 1"},
    "denoising_autoencoder": {"image", "view 1", "view 2"},
    "mlm": {"tokens", "transformed"},
    **dict.fromkeys(["rotation", "jigsaw", "context_prediction", "causal_lm"]),
}


@pytest.mark.parametrize("method", DRAWN)
def test_what_a_transform_makes_is_drawn(method, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CACHE", str(tmp_path))
    (tmp_path / "corpus.txt").write_text("the cat sat on the mat. " * 400)
    text = (
        "data=text_files",
        f"data.root={tmp_path}",
        "data.source.files=corpus.txt",
        "tokenizer=byte",
        "data.length=32",
    )
    config = task(f"method={method}", *(text if method.endswith("lm") else ("data.source.copies=1",)))
    data, drawn, pictures = build_data(config), {}, Pictures(images=3)
    data.setup()
    monkeypatch.setattr(pictures, "_save_columns", lambda trainer, name, columns: drawn.update(columns))
    pictures._show_transform(SimpleNamespace(datamodule=data), SimpleNamespace(device=torch.device("cpu")))
    assert set(drawn) == (DRAWN[method] or set())
    if drawn:
        assert data.modality.draw(drawn).axes
