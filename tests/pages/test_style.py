import itertools

import plotly.graph_objects as go
import pytest

from spelling_transfer.pages.style import ARM_COLOURS, COLOURS, TASK_COLOURS, style_figure


def _linear(colour: str) -> list[float]:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def _seen_by_a_deuteranope(colour: str) -> list[float]:
    # Viénot, Brettel and Mollon, "Digital video colourmaps for checking the legibility of displays by dichromats",
    # Color Research & Application 24 (1999): red and green fall together.
    red, green, blue = _linear(colour)
    mixed = 0.29275 * red + 0.70725 * green
    return [mixed, mixed, -0.02234 * red + 0.02234 * green + blue]


@pytest.mark.parametrize("colours", [list(COLOURS[:4]), list(ARM_COLOURS.values()), list(TASK_COLOURS.values())])
def test_colours_that_meet_in_a_figure_stay_apart_without_red_and_green(colours: list[str]) -> None:
    for first, second in itertools.combinations(colours, 2):
        distance = sum((a - b) ** 2 for a, b in zip(*map(_seen_by_a_deuteranope, (first, second)), strict=True)) ** 0.5
        assert distance > 0.1, (first, second)


def test_a_styled_figure_has_the_projects_look() -> None:
    figure = style_figure(go.Figure(go.Bar(y=[1])), height_pixels=300)
    assert figure.layout.height == 300
    assert figure.layout.template.layout.colorway == COLOURS
    assert len(figure.to_json()) < 5_000
