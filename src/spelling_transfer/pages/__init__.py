"""Everything that a person reads: pages as HTML, documents for ``docs/``, and the words and numbers in them.

`findings` holds the sentences, `numbers` how a number is written, `page`, `tables` and `style` the one look. Each page
has a module: `evaluation`, `study`, `tokens`, `serving`, and `run_summary` for the end of a run. Pages compute nothing
that another package could need: they take frames and findings and return text or figures.
"""

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

if TYPE_CHECKING:
    from spelling_transfer.pages.documents import write_study_document, write_token_document
    from spelling_transfer.pages.evaluation import render_evaluation_page
    from spelling_transfer.pages.findings import describe_comparison
    from spelling_transfer.pages.page import Card, Link, Section, render_page
    from spelling_transfer.pages.run_summary import render_summary_page, summary_document, summary_lines
    from spelling_transfer.pages.serving import render_deployment_page
    from spelling_transfer.pages.study import render_tuning_page
    from spelling_transfer.pages.style import style_figure
    from spelling_transfer.pages.tables import Table
    from spelling_transfer.pages.tokens import TokenFindings, render_token_page

__all__ = [
    "Card",
    "Link",
    "Section",
    "Table",
    "TokenFindings",
    "describe_comparison",
    "render_deployment_page",
    "render_evaluation_page",
    "render_page",
    "render_summary_page",
    "render_token_page",
    "render_tuning_page",
    "style_figure",
    "summary_document",
    "summary_lines",
    "write_study_document",
    "write_token_document",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "spelling_transfer.pages.documents": ("write_study_document", "write_token_document"),
        "spelling_transfer.pages.evaluation": ("render_evaluation_page",),
        "spelling_transfer.pages.findings": ("describe_comparison",),
        "spelling_transfer.pages.page": ("Card", "Link", "Section", "render_page"),
        "spelling_transfer.pages.run_summary": ("render_summary_page", "summary_document", "summary_lines"),
        "spelling_transfer.pages.serving": ("render_deployment_page",),
        "spelling_transfer.pages.study": ("render_tuning_page",),
        "spelling_transfer.pages.style": ("style_figure",),
        "spelling_transfer.pages.tables": ("Table",),
        "spelling_transfer.pages.tokens": ("TokenFindings", "render_token_page"),
    },
)
