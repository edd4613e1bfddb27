from __future__ import annotations

from html import escape as html_escape

import pytest

from microweb.markup import HTMLText, escape, html


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


@pytest.mark.parametrize(
    "text", ["", "plain", "&amp;", "<a href=\"x\" id='y'>&lt;", "é\ud800>" * 3]
)
def test_escape_is_that_of_the_standard_library(text: str) -> None:
    assert escape(text) == html_escape(text)
