"""Runs side by side: seeds are grouped, what differs is named, and what is damaged is told."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy import stats

from ssl_lightning.errors import InputError
from ssl_lightning.figures.leaderboard import markdown, page, print_leaderboard, print_sweep
from ssl_lightning.runs.comparison import Record, compare, find_runs, read_run, short_names

PNG = b"\x89PNG\r\n\x1a\n"


def write_run(folder: Path, accuracy: float = 0.5, seed: int = 0, **others: Any) -> Path:
    """A folder as a run leaves it. `others`: settings of the config, which the user gave, and parts of results.json."""
    results = {"status": "finished", "timing": {"wall_seconds": 60.0}, "controls": {"probe/knn_accuracy": 0.25}}
    results |= {"metrics": {"probe/knn_accuracy": accuracy, "val/loss": 2.0}}
    results |= {key: others.pop(key) for key in list(others) if key in results}
    lr, method = others.pop("lr", 0.1), others.pop("method", "simclr")
    config = {"method": {"_target_": f"somewhere.{method}"}, "optimizer": {"lr": lr, "eps": method}, "seed": seed}
    task = [f"method={method}", f"seed={seed}", f"optimizer.lr={lr}"]
    composition = {"runtime": {"choices": {"method": method, "data": "digits"}}, "overrides": {"task": task}}
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))
    (folder / ".hydra" / "hydra.yaml").write_text(json.dumps({"hydra": composition}))
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "metrics.csv").write_text("step,train/loss,probe/knn_accuracy\n0,,0.25\n10,3.0,\n20,2.0,0.5\n")
    return folder


def write_evaluation(run: Path, results: str, name: str = "evaluate") -> None:
    (run / name / "figures").mkdir(parents=True)
    (run / name / "figures" / "evaluation.png").write_bytes(PNG)
    (run / name / "results.json").write_text(results)


def test_seeds_are_grouped_with_the_interval_of_their_mean(tmp_path: Path) -> None:
    accuracies = [0.80, 0.84, 0.91]
    runs = [write_run(tmp_path / str(seed), accuracy, seed) for seed, accuracy in enumerate(accuracies)]
    runs += [write_run(tmp_path / "better", 0.95, method="moco"), write_run(tmp_path / "worse", 0.1, lr=1.0)]
    found = compare(map(read_run, runs))
    assert [entry.name for entry in found.entries] == ["moco lr=0.1", "simclr lr=0.1", "simclr lr=1.0"]
    mean, half = found.entries[1].mean("probe/knn_accuracy")
    low, high = stats.t.interval(0.95, 2, loc=mean, scale=stats.sem(accuracies))
    assert (mean, mean - half, mean + half) == pytest.approx((0.85, low, high))
    assert found.entries[0].mean("probe/knn_accuracy") == (0.95, None)
    assert found.entries[0].mean("probe/knn_accuracy", "controls") == (0.25, None)
    assert found.entries[0].mean("probe/linear_accuracy") is None


def test_runs_are_ranked_by_what_was_asked_for_and_losses_the_other_way(tmp_path: Path) -> None:
    for name, loss in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        write_run(tmp_path / name, metrics={"val/loss": loss, "probe/knn_accuracy": loss / 10}, lr=loss)
    records = [read_run(folder) for folder in find_runs(tmp_path)]
    assert [entry.name for entry in compare(records).entries] == ["lr=3.0", "lr=2.0", "lr=1.0"]
    by_loss = compare(records, ["val/loss"])
    assert [entry.name for entry in by_loss.entries] == ["lr=1.0", "lr=2.0", "lr=3.0"]
    assert by_loss.metrics == ["val/loss", "probe/knn_accuracy"]


def test_settings_that_come_along_with_others_are_not_named(tmp_path: Path) -> None:
    """As optimizer.eps with the method; what nobody gave is named where nothing else tells runs apart."""
    runs = [read_run(write_run(tmp_path / name, method=name)) for name in ("simclr", "moco")]
    assert [list(entry.settings) for entry in compare(runs).entries] == [["method"]] * 2
    silent = [Record(Path("run"), config={"a.b": value, "a.c": "1"}) for value in "xy"]
    assert [entry.settings for entry in compare(silent).entries] == [{"a.b": "x"}, {"a.b": "y"}]


def test_data_is_named_where_too_many_settings_differ_and_settings_that_end_alike_in_full(tmp_path: Path) -> None:
    many = {f"a.{letter}": "1" for letter in "bcdefghijk"}
    runs = [Record(Path(), config={"a.b": ""}, choices={"method": "moco", "data": "digits"}, overridden=list(many))]
    runs += [Record(Path(), config=many, choices={"method": "mlm", "data": "python_docs"})]
    assert [entry.name for entry in compare(runs).entries] == ["moco digits", "mlm python_docs"]
    assert short_names(["a.lr", "b.lr", "a.eps"]) == {"a.lr": "a.lr", "b.lr": "b.lr", "a.eps": "eps"}


def test_figures_of_an_evaluation_come_first(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    judged = {"metrics": {"probe/knn_accuracy": 0.6, "probe/knn_accuracy_low": 0.5}, "controls": {}}
    write_evaluation(run, json.dumps(judged))
    assert compare([read_run(run)]).metrics == ["evaluate/probe/knn_accuracy"]
    other = read_run(write_run(tmp_path / "other", 0.9, lr=1.0))  # is ranked by what both have
    found = compare([read_run(run), other])
    assert found.metrics == ["probe/knn_accuracy", "evaluate/probe/knn_accuracy"]
    assert found.entries[0].records == [other]


def test_without_labels_the_loss_ranks_and_what_needs_none_follows(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, metrics={"probe/effective_rank": 9.0, "val/loss": 2.0, "train/loss": 1.0}))
    assert compare([run]).metrics == ["val/loss", "probe/effective_rank"]


def test_evaluations_on_other_data_stand_beside_those_on_the_runs_own(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    names = ["cluster/accuracy", "probe/knn_accuracy", "probe/linear_accuracy"]
    for folder, value in (("evaluate", 0.6), ("evaluate_svhn", 0.3)):
        judged = {
            part: dict.fromkeys(names, value + more)
            for part, more in (("metrics", 0), ("controls", -0.2), ("raw", 0.1))
        }
        write_evaluation(run, json.dumps(judged), folder)
    found = compare([read_run(run)])
    assert found.metrics == [f"{folder}/{name}" for name in names[1:] for folder in ("evaluate", "evaluate_svhn")]
    entry = found.entries[0]
    assert [entry.mean(found.metrics[1], of)[0] for of in ("metrics", "controls", "raw")] == pytest.approx(
        [0.3, 0.1, 0.4]
    )
    assert "| test kNN on svhn | untrained |" in markdown(found, tmp_path).replace("\\", "")
    content = json.loads(Elements(page(found)).scripts[0])["entries"][0]
    assert sorted(content["pictures"]) == ["evaluate/evaluation", "evaluate_svhn/evaluation"]
    assert content["raw"]["evaluate_svhn/probe/knn_accuracy"] == pytest.approx(0.4)


DAMAGES: dict[str, tuple[str, str | bytes | None, str]] = {
    "half a file of results": ("results.json", '{"metrics": {', "damaged: JSONDecodeError"),
    "results that are a list": ("results.json", "[1]", "results.json is no mapping"),
    "metrics that are a text": ("results.json", '{"metrics": "x"}', "damaged: AttributeError"),
    "results nested too deep": ("results.json", "[" * 10**5, "damaged: "),
    "results that are no text": ("results.json", b"\xff\xfe", "damaged: UnicodeDecodeError"),
    "no results": ("results.json", None, "unfinished after 20 steps"),
    "a run that was stopped": ("results.json", '{"status": "stopped"}', "stopped after 20 steps"),
    "a config with a tag": (".hydra/config.yaml", "!!python/x {}", "damaged: "),
    "a config without a method": (".hydra/config.yaml", "seed: 0", "damaged: KeyError"),
    "overrides that are none": (".hydra/hydra.yaml", "hydra: 1", "hydra.yaml does not tell of what"),
    "an evaluation that is cut": ("evaluate/results.json", '{"metrics', "damaged: JSONDecodeError"),
}
"""A file, what is in it, and what is told."""


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_or_unfinished_is_told_and_compared_with_nothing(tmp_path: Path, damage: str) -> None:
    write_run(tmp_path / "whole")
    (name, content, told), run = DAMAGES[damage], write_run(tmp_path / "damaged")
    (run / "evaluate").mkdir()
    (run / name).write_bytes(content.encode() if isinstance(content, str) else content or b"")
    if content is None:
        (run / name).unlink()
    found = compare([read_run(folder) for folder in find_runs(tmp_path)])
    assert [entry.records[0].folder.name for entry in found.entries] == ["whole"]
    assert told in found.others[0].problem
    assert told in markdown(found, tmp_path).replace("\\", "")
    assert told in page(found).replace("\\", "")


def test_a_link_out_of_a_run_is_not_followed(tmp_path: Path) -> None:
    (write_run(tmp_path / "run") / "figures").mkdir()
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "run" / "figures" / "embedding.png").symlink_to(tmp_path / "secret.png")
    found = compare([read_run(tmp_path / "run")])
    assert "leads out of the run's folder" in found.others[0].problem
    assert "image/png" not in page(found)


def test_rows_and_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    none = {"a": float("nan"), "b": "0.5", "d": None, "e": [1], "f": 10**400, "g": 1e308, "val/loss": 1e400}
    run = write_run(tmp_path, metrics={**none, "c": 1})
    with (run / "metrics.csv").open("a") as file:
        file.write("30,nan,0.9\nx,1,1\n40,1")
    record = read_run(run)
    assert record.metrics == {"c": 1.0}
    assert list(record.rows) == [0, 10, 20, 30]
    assert record.rows[30] == {"probe/knn_accuracy": 0.9}


def test_a_place_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        find_runs(tmp_path)
    with pytest.raises(InputError, match="there is no run at"):
        find_runs(tmp_path / "nowhere")


class Elements(HTMLParser):
    """The tags of a page with their attributes, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts.append(data)


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>`|[a](javascript:alert(1))\x1b[2J\n# x"


def test_names_and_files_of_a_stranger_stay_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / EVIL.replace("/", "_").replace("\n", " ")
    run = write_run(home / "run", method=EVIL, lr=EVIL, metrics={EVIL: 1.0, "probe/knn_accuracy": 0.5})
    write_run(home / "other", status=EVIL)
    write_run(home / "[" / "b]", status=EVIL)  # a closing tag to rich
    write_run(home / "third", method="simclr")
    (run / "figures").mkdir()
    (run / "figures" / f"{EVIL[2:30].replace('/', '')}.png").write_bytes(PNG)
    for name, content in (("a.svg", b"<svg onload=alert(1)>"), ("b.png", b"<html>"), ("c.html", PNG[:3])):
        (run / "figures" / name).write_bytes(content)
    found = compare([read_run(folder) for folder in find_runs(home)])
    text = page(found)
    clean = Elements(page(compare([read_run(write_run(tmp_path / "clean"))])))
    assert [tag for tag, _ in Elements(text).tags] == [tag for tag, _ in clean.tags]
    (content, script), (_, code) = Elements(text).scripts, clean.scripts
    assert script == code
    assert json.loads(content)["entries"][0]["settings"] == [EVIL.replace("\x1b", "?").replace("\n", "?")] * 2
    assert text.count("data:image/png;base64,iVBORw0KGgo=") == 1
    assert "base64,P" not in text
    told = markdown(found, tmp_path)
    assert not [word for word in ("<", "\x1b", "](", "`|") if word in told.replace("\\`", "").replace("\\]\\(", "")]
    assert told.count("\n# ") == 0
    print_leaderboard(Console(), found)
    said = capsys.readouterr().out
    assert "\x1b[2J" not in said
    assert f"{home.name.replace(chr(27), '?')}/[/b]  " in said


def test_a_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    text = page(compare([read_run(write_run(tmp_path / "run"))]))
    tags = Elements(text).tags
    assert not [value for _, attributes in tags for key, value in attributes.items() if key in ("src", "href")]
    policy = next(a["content"] for tag, a in tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:")
    assert {part for part in text.split('"') if part.startswith("http")} == {
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/2000/svg",
    }
    assert not [word for word in ("innerHTML", "insertAdjacent", "document.write", "eval(", "@import") if word in text]


def test_curves_go_over_wall_clock(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    content = json.loads(Elements(page(compare([read_run(run)]))).scripts[0])
    assert content["entries"][0]["runs"][0]["curves"]["train/loss"] == [[10, 20], [0.5, 1.0], [3.0, 2.0]]
    (run / "metrics.csv").write_text("step,train/loss,time/wall_seconds\n10,3.0,45\n20,2.0,\n30,1.0,60\n")
    content = json.loads(Elements(page(compare([read_run(run)]))).scripts[0])
    assert content["entries"][0]["runs"][0]["curves"]["train/loss"][1] == [0.75, 0.875, 1.0]


def test_a_sweep_ends_with_its_leaderboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        write_run(tmp_path / str(seed), 0.5 + seed / 10, seed)
        write_run(tmp_path / str(2 + seed), 0.8, seed, method="moco")
    shutil.rmtree(tmp_path / "3" / ".hydra")
    print_sweep(tmp_path, "probe/knn_accuracy")
    said = capsys.readouterr().out
    assert "2 configs, by kNN accuracy (higher is better)" in said
    assert said.index("moco") < said.index("simclr")
    assert "55.0%±63.5" in said
    assert f"next  ssl-report {tmp_path}" in said.replace("\n", "")


def test_a_narrow_screen_shows_fewer_metrics_and_whole_names(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {f"evaluate/test/image_to_text_recall_at_{k}": 0.5 for k in range(20)}
    records = [Record(Path(name), choices={"method": name}, config={"lr": name}, metrics=metrics) for name in "ab"]
    found = compare(records, sorted(metrics))
    for width, shown in ((80, 1), (400, 10)):
        print_leaderboard(Console(width=width), found)
        out = capsys.readouterr().out
        assert (out.count("50.0%"), "│ a " in out) == (2 * shown, True)
