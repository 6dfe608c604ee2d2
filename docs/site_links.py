"""A hook of `make docs`: links that leave docs/ lead to the repository, and must lead somewhere.

On GitHub and in a checkout `../engine/whet/errors.py` is right as it stands; the site lacks it.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

IMAGES = (".png", ".svg")
LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]+)")
log = logging.getLogger("mkdocs.hooks.site_links")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrite the links of one page (MkDocs calls this); a file that is missing is a warning, which
    `--strict` refuses.
    """
    docs = Path(config["docs_dir"]).resolve()
    here = (docs / page.file.src_uri).parent

    def to_repository(link: re.Match[str]) -> str:
        target = (here / link[1]).resolve()
        if target.is_relative_to(docs):
            return link[1]
        if not target.exists():
            log.warning("%s links to %s, which is not there", page.file.src_uri, link[1])
        kind = "tree" if target.is_dir() else "raw" if target.suffix in IMAGES else "blob"
        return f"{config['repo_url']}/{kind}/main/{target.relative_to(docs.parent)}"

    return LINK.sub(to_repository, markdown)
