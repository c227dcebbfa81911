"""Images with captions as commands and callbacks see them: images, which also know the tokenizer of their captions."""

from collections.abc import Mapping
from typing import Any

from ssl_lightning.data.image.modality import ImageModality
from ssl_lightning.data.text.modality import TextModality


class ImageTextModality(ImageModality):
    """What a user gives, and what an encoder reads, is an image; `text` reads captions."""

    name = "image-text"

    def __init__(self, images: ImageModality, text: TextModality) -> None:
        super().__init__(images.image_size, images.channels, images.mean, images.std)
        self.text = text

    @property
    def facts(self) -> Mapping[str, Any]:
        return {**super().facts, **self.text.facts}
