"""Self-supervised learning: Hydra composes, Lightning runs, every modality in one interface."""

__version__ = "0.1.0"
