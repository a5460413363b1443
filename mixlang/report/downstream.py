"""The report's section on downstream tasks: scores with intervals, label efficiency, and who is better than whom."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mixlang.documents import Estimate, TaskResults
from mixlang.report.html import soft, table
from mixlang.report.results import Results
from mixlang.report.svg import Chart, colour

_MODES = {"probe": "frozen", "finetune": "fine-tuned"}


def downstream_section(results: Results) -> list[str]:
    """The section; nothing where no task is declared."""
    document = results.read("downstream.json") if results.has("downstream.json") else {}
    if not document.get("tasks"):
        return []
    parts = ["<h2>Downstream tasks</h2>"]
    parts += [f'<p class="lead">{escape(sentence)}</p>' for sentence in document["sentences"]]
    parts.append(
        soft(
            f"Encoders of the verification runs at {document['budget']:,} samples; {document['seeds']} fits each, paired by "
            "seed: head, labelled subset and order of samples are the same for all. Intervals are 95 % over test subjects "
            "(bootstrap), seeds averaged; with few subjects they are too narrow."
        )
    )
    parts.append("<ul>" + "".join(f"<li>{escape(says)}</li>" for says in document.get("mixtures", [])) + "</ul>")
    for name, task in document["tasks"].items():
        parts += _task(name, task, document["encoders"])
    return parts


def _task(name: str, task: TaskResults, encoders: Sequence[str]) -> list[str]:
    test = task["test"]
    side = (
        f"cross-validated by subject in {task['folds']} folds; the encoders have seen images of test subjects in "
        "pretraining, without labels"
        if test["seen_unlabelled"]
        else "tested on subjects that pretraining has not seen"
    )
    parts = [
        f"<h3>{escape(name)}: {task['kind']} of {escape(task['domain'])}</h3>",
        soft(f"{test['volumes']} test volumes of {test['subjects']} subjects; {side}."),
    ]
    if len({item["labels"] for item in task["results"]}) > 1:
        charts = [f"<figure>{_efficiency(name, task, mode, encoders)}</figure>" for mode in _modes(task)]
        parts += [_key(encoders), f'<div class="row">{"".join(charts)}</div>']
    parts += [_scores(task), _differences(task)]
    return [*parts, "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in task["sentences"]) + "</ul>"]


def _modes(task: TaskResults) -> list[str]:
    return list(dict.fromkeys(item["mode"] for item in task["results"]))


def _main(task: TaskResults) -> str:
    return "auroc" if task["kind"] == "classification" else "dice"


def _efficiency(name: str, task: TaskResults, mode: str, encoders: Sequence[str]) -> str:
    """The main score against labelled training volumes, a line an encoder."""
    score = _main(task)
    rows = [item for item in task["results"] if item["mode"] == mode and item[score]["mean"] is not None]
    volumes = [item["training_volumes"] for item in rows]
    words = {"auroc": "AUROC", "dice": "mean Dice"}[score]
    chart = Chart(
        f"{name}, {_MODES[mode]}",
        f"{words} of {name} by number of labelled training volumes, {_MODES[mode]}, a line an encoder",
        (min(volumes, default=1), max(volumes, default=2)),
        (0.0, 1.0),
        "labelled training volumes",
        words,
        linear_y=True,
    )
    for encoder in dict.fromkeys(item["encoder"] for item in rows):
        mine = [(item["training_volumes"], item[score]["mean"]) for item in rows if item["encoder"] == encoder]
        xs, ys = [x for x, _ in mine], [y for _, y in mine]
        chart.line(xs, ys, encoders.index(encoder))
        chart.points(xs, ys, encoders.index(encoder))
    return chart.render()


def _key(encoders: Sequence[str]) -> str:
    items = "".join(
        f'<span class="key"><span class="swatch" style="background:{colour(index)}"></span>{escape(name)}</span>'
        for index, name in enumerate(encoders)
    )
    return f"<p>{items}</p>"


def _scores(task: TaskResults) -> str:
    classes = task["classes"] if task["kind"] == "segmentation" else []
    head = ["training", "labels", "volumes", "encoder"]
    head += [f"Dice {name}" for name in classes] if classes else ["AUROC", "accuracy"]
    head += [f"HD95 {name}, mm" for name in classes]
    rows = []
    for item in task["results"]:
        row = [_MODES[item["mode"]], f"{item['labels']:.0%}", f"{item['training_volumes']}", item["encoder"]]
        if classes:
            found = [item["classes"][name] for name in classes]
            row += [_shown(one["dice"], ".3f") for one in found]
            row += [_shown(one["hd95"], ".1f") + _missed(one["missed"]) for one in found]
            row.insert(4, _shown(item["dice"], ".3f"))
        else:
            row += [_shown(item["auroc"], ".3f"), _shown(item["accuracy"], ".3f")]
        rows.append(row)
    if classes:
        head.insert(4, "mean Dice")
    return table(head, rows)


def _missed(part: float) -> str:
    return f" ({part:.0%} not found)" if part else ""


def _differences(task: TaskResults) -> str:
    words = {"auroc": "AUROC", "dice": "mean Dice"}[_main(task)]
    rows = [
        [
            _MODES[item["mode"]],
            f"{item['labels']:.0%}",
            f"{item['encoder']} less {item['against']}",
            _shown(item, "+.3f"),
        ]
        for item in task["differences"]
    ]
    return table(["training", "labels", "encoders", f"difference in {words}"], rows)


def _shown(value: Estimate, form: str) -> str:
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"
