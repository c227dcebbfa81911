"""Sweepers and launchers of ssl-lightning, where Hydra looks for plugins: it reads them at every start."""
