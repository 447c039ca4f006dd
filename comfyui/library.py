"""Where the package `seesr` comes from: this repository, so that cloning it is all there is to install."""

import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"


def provide() -> None:
    """Make `import seesr` find the repository's package, or the installed one where this folder stands alone."""
    if (SOURCE / "seesr" / "__init__.py").is_file() and str(SOURCE) not in sys.path:
        sys.path.insert(0, str(SOURCE))  # before an installed one, which may be of another version than these nodes
