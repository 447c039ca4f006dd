"""Write docs/python-examples.md from examples/*.py: the docstring of each as text, the rest as code.

python docs/write_examples.py [--check]
"""

import argparse
import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python-examples.md"
EXAMPLES = ("restore", "batch_of_arrays", "own_scheduler", "own_tags", "dape_on_a_folder")
_INTRO = """# From Python

Written by `python docs/write_examples.py` from `examples/*.py`, which run in a plain clone, offline, with *mini*. Every
setting of [Settings](settings.md) is a keyword of the call; [Python](python.md) has the classes.
"""


def section(name: str) -> str:
    """Heading, what the example's docstring says, its code, and how to run it."""
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    docstring, code = ast.get_docstring(ast.parse(text)) or "", text.split('"""', 2)[2].strip()
    *paragraphs, usage = docstring.split("\n\n")
    title, _, first = paragraphs[0].partition(": ")
    body = "\n\n".join([first[0].upper() + first[1:], *paragraphs[1:]])
    return f"## {title}\n\n{body}\n\n```python\n{code}\n```\n\nRun it: `{usage.split('  ')[0]}`\n"


def page() -> str:
    return "\n".join([_INTRO, *map(section, EXAMPLES)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE}: not up to date; run python docs/write_examples.py")


if __name__ == "__main__":
    main()
