"""The two towers of an image-text method in the files of other libraries."""

from pathlib import Path
from typing import Any

from safetensors.torch import save_model

from ssl_lightning.commands.text_model import save
from ssl_lightning.runs.load import load_method


def export_pair(run: Any, checkpoint: str, folder: Path) -> dict[str, str]:
    """Writes both towers to `folder`; what is written, and what opens it.

    `text/` is a folder of transformers; the mean hidden state over a text is its embedding. `image.safetensors` are the
    weights of the image encoder by the names of its library. `space.safetensors` has the projections `image.weight` and
    `text.weight`, from embeddings to the shared space, `log_scale`, and `bias` where the method has one.
    """
    method, data = load_method(run, checkpoint)
    tokenizer = data.text.tokenizer.inner
    tokenizer.model_max_length = method.text_backbone.max_length
    save(method.text_backbone.model, tokenizer, folder / "text")
    for name, part in {"image": method.backbone, "space": method.space}.items():
        save_model(part, str(folder / f"{name}.safetensors"))
    return {
        "wrote": f"{folder / 'text'}: AutoModel, AutoTokenizer",
        "images": f"{folder / 'image.safetensors'}: load_state_dict of the same network",
        "space": f"{folder / 'space.safetensors'}: projections of both, and the scale",
    }
