"""Checks that a tag is a release: python deploy/check_release.py v0.1.0.

The version of the package is that of the tag, and the changelog has a section of it with a date and without the word
"unreleased".
"""

import datetime as dt
import re
import sys
from pathlib import Path
from typing import Final

_REPOSITORY: Final = Path(__file__).resolve().parents[1]
_VERSION: Final = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_SECTION: Final = re.compile(r"^## \[(.+?)\] - (.+)$", re.MULTILINE)


def problem(tag: str, package: str, changelog: str) -> str | None:
    """Return why a tag is no release; None if it is one.

    Args:
        tag: The tag, such as v0.1.0.
        package: Text of the module that states the version.
        changelog: Text of the changelog.
    """
    found = _VERSION.search(package)
    version = found[1] if found else "unknown"
    if tag != f"v{version}":
        return f"the tag is {tag}, and the version of the package is {version}"
    sections = dict(_SECTION.findall(changelog))
    if version not in sections:
        return f"CHANGELOG.md has no section [{version}]"
    try:
        dt.date.fromisoformat(sections[version])
    except ValueError:
        return f"CHANGELOG.md: [{version}] is dated {sections[version]!r}; write the day of the release"
    return None


if __name__ == "__main__":
    texts = (
        (_REPOSITORY / name).read_text(encoding="utf-8") for name in ("src/meritorder/__init__.py", "CHANGELOG.md")
    )
    if reason := problem(sys.argv[1], *texts):
        sys.exit(reason)
    print(f"{sys.argv[1]} may be released")
