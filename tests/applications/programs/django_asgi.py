"""The ASGI application of the Django site."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "django_site"))
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"

from django.core.asgi import get_asgi_application

app = get_asgi_application()
