"""What `--help` says of the choices: each method with its modality and a sentence, the others by name."""

import textwrap

from hydra.core.global_hydra import GlobalHydra

from ssl_lightning.config.paths import CONFIG_DIR


def choices() -> str:
    """The choices of each group that a user can name, those of `--config-dir` included."""
    loader = GlobalHydra.instance().config_loader()
    others = [group for group in loader.list_groups("") if group not in ("hydra", "method")]
    return "\n".join(_group(group, loader.get_group_options(group)) for group in ("method", *others))


def describe(method: str) -> tuple[str, str]:
    """Modality and sentence of a method, by the first comment of its config: `# images: put tiles in order.`"""
    file = CONFIG_DIR / "method" / f"{method}.yaml"
    comments = [line[2:] for line in file.read_text().splitlines() if line[:2] == "# "] if file.exists() else []
    modality, _, sentence = next((line for line in comments if line[0] != "@"), "").partition(": ")
    return modality, sentence


def _group(group: str, names: list[str]) -> str:
    shown = [name for name in names if not name.startswith("_")]
    if group == "method":
        width = max(map(len, shown))
        lines = [f"  {name:{width}}  {modality:6}  {what}" for name in shown for modality, what in [describe(name)]]
        return "\n".join(["method", *lines, ""])
    return textwrap.fill(", ".join(shown), 100, initial_indent=f"{group}: ", subsequent_indent="  ")
