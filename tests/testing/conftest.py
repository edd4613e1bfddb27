from __future__ import annotations

import pytest
from support.tested_apps import hello_app

from microweb import App


@pytest.fixture
def app() -> App:
    return hello_app()
