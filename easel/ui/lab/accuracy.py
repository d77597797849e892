"""HTML of how often a classifier is right, and of what each template says by itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from easel.ui.lab.outcomes import Classified
from easel.ui.lab.render import MAX_TINT, percent, render_note
from easel.words import strings
from easel.words.language import figure
from pipelines.accuracy import TOP, Accuracy, TemplateAnswer

MAX_CONFUSION = 12  # labels of a table that fits beside the form; of more, mistakes are listed
MAX_PAIRS = 10
MAX_NAMES = 5  # of pictures that are not counted


def render_accuracy(outcome: Classified) -> str:
    """How many pictures of known labels are right, and what is taken for what; empty without."""
    accuracy = outcome.accuracy
    if accuracy is None:
        return ""
    said = strings.LAB_RIGHT.format(accuracy.right, accuracy.total,
                                    percent(accuracy.right / accuracy.total))
    if len(accuracy.labels) > TOP:
        said += " " + strings.LAB_AMONG_FIRST.format(TOP, accuracy.among_first, accuracy.total)
    table = (_confusion if len(accuracy.labels) <= MAX_CONFUSION else _mixed_up)(accuracy)
    return (f'<section class="lab-group lab-accuracy"><h3>{escape(said)}</h3>'
            f"{_not_counted(outcome)}{render_note(strings.LAB_KNOWN_BY)}{table}</section>")


def _not_counted(outcome: Classified) -> str:
    """Which pictures are named by none of the labels; empty where there are none."""
    names = [name for name, known in zip(outcome.names, outcome.known, strict=True) if known < 0]
    if not names:
        return ""
    said = ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
    return render_note(strings.LAB_NOT_COUNTED.format(len(names), len(outcome.names), said))


def _confusion(accuracy: Accuracy) -> str:
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in accuracy.labels)
    rows = []
    for label, row in zip(accuracy.labels, accuracy.confusion, strict=True):
        most = max(int(row.sum()), 1)
        cells = "".join(f'<td style="--tint:{MAX_TINT * int(count) / most:.0f}%">{int(count)}</td>'
                        for count in row)
        rows.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>')
    return (f'<div class="matrix-scroll"><table class="matrix confusion">'
            f'<caption class="sr">{escape(strings.LAB_CONFUSION)}</caption>'
            f"<thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>")


def _mixed_up(accuracy: Accuracy) -> str:
    wrong = accuracy.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    pairs = [divmod(int(place), len(accuracy.labels)) for place in order if wrong.flat[place]]
    items = "".join(
        f"<li>{escape(accuracy.labels[own])} → {escape(accuracy.labels[taken])}: "
        f"{int(wrong[own, taken])}</li>" for own, taken in pairs)
    return f'<ul class="lab-mixed">{items}</ul>'


def render_templates(outcome: Classified) -> str:
    """What each template says by itself, folded; empty where there is one alone.

    For one picture its label and probability; for several with known labels how many are right, and
    without how many are as all templates together say.
    """
    if len(outcome.answers) < 2:
        return ""
    answers = outcome.answers
    if outcome.accuracy is not None:  # the best first
        answers = tuple(sorted(answers, key=lambda answer: -_right(outcome, answer)))
    said = [_answer(outcome, answer) for answer in answers]
    rows = "".join(f'<tr><th scope="row">{escape(answer.template)}</th>'
                   f"<td>{escape(words)}</td></tr>"
                   for answer, words in zip(answers, said, strict=True))
    title = escape(strings.LAB_BY_TEMPLATE.format(len(answers)))
    return (f'<details class="lab-faults lab-by-template"><summary>{title}</summary>'
            f'<div class="all" tabindex="0" role="region" aria-label="{title}">'
            f'<table class="lab-table"><tbody>{rows}</tbody></table></div></details>')


def _right(outcome: Classified, answer: TemplateAnswer) -> int:
    """How many pictures of known labels a template takes for what they are."""
    return int((answer.best == outcome.known)[outcome.known >= 0].sum())


def _answer(outcome: Classified, answer: TemplateAnswer) -> str:
    labels: Sequence[str] = outcome.found.labels
    if len(outcome.names) == 1:
        return f"{labels[int(answer.best[0])]} {percent(float(answer.shares[0]))}"
    if outcome.accuracy is not None:
        right = _right(outcome, answer)
        return strings.LAB_RIGHT.format(right, outcome.accuracy.total,
                                        percent(right / outcome.accuracy.total))
    same = int((answer.best == outcome.found.probabilities.argmax(1)).sum())
    return strings.LAB_SAME_AS_ALL.format(figure(same, ","), figure(len(outcome.names), ","))
