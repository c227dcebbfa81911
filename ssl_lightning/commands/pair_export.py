"""The two towers of an image-text method in the files of other libraries."""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file, save_model

from ssl_lightning.commands.exported_encoder import as_timm, settings_of_encoder
from ssl_lightning.commands.text_model import save
from ssl_lightning.errors import InputError
from ssl_lightning.runs.folder import RunFolder, write_json
from ssl_lightning.runs.load import load_method

_TEXT_OF_OPEN_CLIP = ("bert", "roberta", "xlm-roberta")
"""Architectures of transformers that open_clip takes as text encoders."""


def export_pair(run: RunFolder, checkpoint: str, folder: Path) -> dict[str, str]:
    """Writes both towers to `folder`; what is written, and what opens it.

    `text/` is a folder of transformers; the mean hidden state over a text is its embedding. `image.safetensors` are the
    weights of the image encoder by the names of its library. `space.safetensors` has the projections `image.weight` and
    `text.weight`, from embeddings to the shared space, `log_scale`, and `bias` where the method has one.
    """
    method, data = load_method(run, checkpoint)
    save(method.text_backbone.model, _tokenizer(method, data), folder / "text")
    for name, part in {"image": method.backbone, "space": method.space}.items():
        save_model(part, str(folder / f"{name}.safetensors"))
    return {
        "wrote": str(folder),
        "texts": f'transformers.AutoModel and AutoTokenizer.from_pretrained("{folder / "text"}")',
        "images": f"{folder / 'image.safetensors'}: load_state_dict of the same network",
        "space": f"{folder / 'space.safetensors'}: projections of both, and the scale",
    }


def export_open_clip(run: RunFolder, checkpoint: str, folder: Path) -> dict[str, str]:
    """Writes both towers to `folder` as one model of open_clip; what opens it.

    Raises:
        InputError: an image or a text encoder that open_clip does not have.
    """
    method, data = load_method(run, checkpoint)
    text, space = method.text_backbone.model, method.space
    name, options, weights = as_timm(method.backbone, settings_of_encoder(run, data), "open_clip")
    if options != {"in_chans": 3} or text.config.model_type not in _TEXT_OF_OPEN_CLIP:
        raise InputError(
            "open_clip takes models of timm without options, for color images, and texts by"
            f" {', '.join(_TEXT_OF_OPEN_CLIP)}: train one, or export without format="
        )
    place, shape = str(folder.resolve()), data.modality.sample_shape
    texts = {"hf_pooler_type": "mean_pooler", "hf_proj_type": "linear", "context_length": data.length}
    model = {
        "embed_dim": method.out_dim,
        "vision_cfg": {"timm_model_name": name, "timm_pool": "", "timm_proj": "linear", "image_size": shape[-1]},
        "text_cfg": {"hf_model_name": place, "hf_tokenizer_name": place, **texts},
        "custom_text": True,
    }
    named = {
        **{f"visual.trunk.{key}": value for key, value in weights.items()},
        **{f"text.transformer.{key}": value for key, value in text.state_dict().items()},
        "visual.head.proj.weight": space.image.weight,
        "text.proj.weight": space.text.weight,
        "logit_scale": space.log_scale.squeeze(),
    }
    if space.bias is not None:
        model["init_logit_bias"] = 0.0
        named["logit_bias"] = space.bias.squeeze()
    save(text.config, _tokenizer(method, data), folder)
    save_file(
        {key: value.detach().contiguous() for key, value in named.items()}, folder / "open_clip_model.safetensors"
    )
    pixels = {"size": shape[1:], "mean": data.modality.mean, "std": data.modality.std}
    write_json(folder / "open_clip_config.json", {"model_cfg": model, "preprocess_cfg": pixels})
    return {"wrote": str(folder), "open": f'open_clip.create_model_and_transforms("local-dir:{folder}")'}


def _tokenizer(method: Any, data: Any) -> Any:
    tokenizer = data.text.tokenizer.inner
    tokenizer.model_max_length = method.text_backbone.max_length
    return tokenizer
