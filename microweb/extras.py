"""The packages that an extra installs, from the metadata of the installed microweb.

A message names them in place of `microweb[extra]`, which pip would look for on a package index.
"""

from __future__ import annotations


def command_for(extra: str) -> str:
    """Return the command that installs the packages of an extra, or how to find them."""
    from importlib import metadata  # slow to import

    try:
        lines = metadata.requires("microweb") or ()
    except metadata.PackageNotFoundError:  # the folder of the source is on `sys.path`
        lines = ()
    conditions = f'extra == "{extra}"', f"extra == '{extra}'"
    packages = [line.partition(";")[0].strip() for line in lines if line.endswith(conditions)]
    if not packages:
        return f"install microweb from its folder with the extra {extra}"
    return " ".join(["pip install", *(f"'{each}'" for each in packages)])
