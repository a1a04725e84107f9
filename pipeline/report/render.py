"""Pages from templates, which escape all that is put into them."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_PAGES = Environment(
    loader=PackageLoader("pipeline.report", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **content: object) -> str:
    """A page from a template in `templates/`, without anything from outside."""
    return _PAGES.get_template(template).render(**content)


def trusted(html: str) -> Markup:
    """HTML that was made here, such as a drawing, and is not to be escaped."""
    return Markup(html)
