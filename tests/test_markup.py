from __future__ import annotations

import pytest

from microweb.markup import HTMLText, html


class Markup:
    def __html__(self) -> str:
        return "<i>&amp;</i>"


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (html("<b>{}</b>", "<script>alert('\"&\"')</script>"),
         "<b>&lt;script&gt;alert(&#x27;&quot;&amp;&quot;&#x27;)&lt;/script&gt;</b>"),
        (html("<b>{name}</b>{}", 1, name="<"), "<b>&lt;</b>1"),
        (html("{}", html("<br>")), "<br>"),
        (html("{}", Markup()), "<i>&amp;</i>"),
        (html("{}", None), "None"),
        (html("{0}{0}", "&"), "&amp;&amp;"),
        (html("<style>b {}</style>"), "<style>b {}</style>"),
        (html("{{}}{}", 1), "{}1"),
        (html("{:>5}", "a"), "    a"),
    ],
)  # fmt: skip
def test_html_escapes_its_arguments(made: HTMLText, text: str) -> None:
    assert made == text
    assert isinstance(made, HTMLText)
    assert made.__html__() == text
