"""A wheel carries the configs and works outside the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_wheel_composes_runs_outside_the_checkout(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    assert (site / "ssl_lightning/plugins/hydra_plugins/ssl_lightning/grid.py").exists()
    assert (site / "ssl_lightning/figures/report.html").exists()
    script = f"import sys; sys.path.insert(0, {str(site)!r});"
    script += "import ssl_lightning.pretrain as pretrain; print(pretrain.__file__); pretrain.main()"
    result = subprocess.run(
        [sys.executable, "-I", "-c", script, "--cfg", "job"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    where, *config = result.stdout.splitlines()
    assert Path(where).is_relative_to(site)
    assert "  _target_: ssl_lightning.methods.simclr.SimCLR" in config
