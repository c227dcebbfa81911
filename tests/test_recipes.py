"""The recipes of ssl_lightning/README.md: their files are written and their commands are run, as they stand."""

import json
import re
import shlex
from pathlib import Path

from runs.harness import command

README = Path(__file__).parents[1] / "ssl_lightning" / "README.md"
FILES = re.compile(r"`([\w/]+\.(?:py|yaml))`[^\n`]*(?:\n[^\n`]+)*:?\n\n```(?:python|yaml)\n(.*?)```", re.DOTALL)
COMMANDS = re.compile(r"```bash\n(ssl-pretrain --config-dir .*?)\n```")
SMALL = (
    "trainer.max_steps=2",
    "trainer.max_epochs=null",
    "data.batch_size=32",
    "callbacks=minimal",
    "trainer.log_every_n_steps=1",
)


def test_a_method_and_a_data_set_of_the_reader(tmp_path: Path) -> None:
    text = README.read_text()
    files, commands = FILES.findall(text), COMMANDS.findall(text)
    assert [name for name, _ in files] == [
        "my_package/siamese.py",
        "conf/method/siamese.yaml",
        "my_package/stripes.py",
        "conf/data/stripes.yaml",
    ]
    for name, content in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert len(commands) == 2
    for number, line in enumerate(commands):
        arguments = [argument for argument in shlex.split(line)[1:] if not argument.startswith("trainer.max_epochs")]
        done = command("pretrain", *arguments, *SMALL, f"hydra.run.dir={number}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        results = json.loads((tmp_path / str(number) / "results.json").read_text())
        assert results["status"] == "finished"
        assert "train/loss" in results["metrics"]


def test_the_example_in_python_is_the_tested_one() -> None:
    from test_python_api import EXAMPLE

    assert f"```python\n{EXAMPLE}```" in README.read_text()
