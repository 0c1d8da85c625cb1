import pandas as pd

from spelling_transfer.evaluation.comparison import compare_arms, pair_arms
from spelling_transfer.evaluation.marking import mark_answers, score_answers
from spelling_transfer.pages.evaluation import plot_differences, plot_groups, plot_scores
from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.tasks.registry import load_tasks


def test_bars_are_the_scores_and_whiskers_their_intervals(answers: pd.DataFrame) -> None:
    scores = score_answers(mark_answers(answers, load_tasks()))
    figure = plot_scores(scores)
    bars = {trace.name: trace for trace in figure.data}
    assert list(bars) == ["base", "spelling", "always the commonest answer"]
    rows = scores[(scores["arm"] == "spelling") & (scores["group"] == "all")]
    assert list(bars["spelling"].y) == rows["exact_match"].tolist()
    upper = bars["spelling"].y + bars["spelling"].error_y.array
    assert list(upper.round(9)) == rows["high"].round(9).tolist()


def test_differences_are_in_points_with_the_first_task_on_top(answers: pd.DataFrame) -> None:
    pairs = pair_arms(mark_answers(answers, load_tasks()), "base", "spelling")
    comparison = pd.DataFrame(compare_arms(pairs, "base", "spelling", Bootstrap(n_resamples=999)))
    points = plot_differences(comparison).data[0]
    assert list(points.y) == ["count", "position", "spelling"]
    spelling = comparison[(comparison["task"] == "spelling") & (comparison["group"] == "all")].iloc[0]
    assert points.x[2] == 100 * spelling["difference"]


def test_eight_tasks_take_two_rows_of_panels(answers: pd.DataFrame) -> None:
    scores = score_answers(mark_answers(answers, load_tasks()))
    eight = pd.concat([scores.assign(task=f"task {i}") for i in range(8)])
    figure = plot_groups(eight, "n_tokens", "tokens")
    assert len({trace.xaxis for trace in figure.data}) == 8
    assert len({annotation.y for annotation in figure.layout.annotations}) == 2
    assert sum(trace.showlegend for trace in figure.data) == 2
