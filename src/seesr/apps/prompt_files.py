"""What a result was made with, as JSON beside it: tags with probabilities, prompts, settings, seed."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesr.restoration.settings import SPECS, Settings
from seesr.system.atomic import write_whole

if TYPE_CHECKING:  # slow to import
    from seesr.restoration.outputs import SeeSROutput


def prompts_path(target: Path) -> Path:
    """Where the JSON of the result `target` goes; of `a.png` and `a.jpg` each has its own."""
    return target.with_name(f"{target.name}.json")


def write_prompts(target: Path, source: Path, result: "SeeSROutput", profile: str, settings: Settings) -> Path:
    """Write the JSON beside `target`; of `result`, whose first photo it is. Returns its path."""
    record: dict[str, Any] = {
        "photo": source.name,
        "tags": [{"name": tag.name, "probability": round(tag.probability, 4)} for tag in result.tags[0]],
        "prompt": result.prompts[0],
        "negative_prompt": result.negative_prompts[0],
        "seed": settings.seed,
        "profile": profile,
        "settings": {name: getattr(settings, name) for name in SPECS},
    }
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    path = prompts_path(target)
    write_whole(path, lambda file: file.write(text.encode()))
    return path
