"""Make the database of the Django site, with one user."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "django_site"))
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"

import django
from django.apps import apps
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0, run_syncdb=True)
User = apps.get_model("auth", "User")
User.objects.create_superuser("ann", "ann@example.org", "secret")
