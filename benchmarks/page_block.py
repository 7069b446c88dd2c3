"""What a script prints, kept in a page of the docs between two marks that name the script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PageBlock:
    """One script's part of a page.

    Attributes:
        page: the page.
        script: the script's path from the repository's root, as the marks name it.
    """

    page: Path
    script: str

    def shown(self) -> str:
        """What stands there now."""
        return self._parts()[1].strip()

    def write(self, text: str) -> None:
        """Put a new text there."""
        before, _, after = self._parts()
        begin, end = self._marks()
        self.page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")

    def _marks(self) -> tuple[str, str]:
        return f"<!-- {self.script} begins -->", f"<!-- {self.script} ends -->"

    def _parts(self) -> tuple[str, str, str]:
        begin, end = self._marks()
        before, rest = self.page.read_text(encoding="utf-8").split(begin)
        inside, after = rest.split(end)
        return before, inside, after
