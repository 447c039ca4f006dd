"""DAPE on a folder of one's own: tags and embedding of every photo, without restoring any of them.

The tags go into a table, with what the plain tagger says beside them. The mean token of the representation embedding
(512 numbers with "sd2") goes into one array, which is enough to find photos that are alike.

python examples/dape_on_a_folder.py [FOLDER OUTPUT]      writes OUTPUT/tags.csv and OUTPUT/embeddings.npz
"""

import csv
import sys
from pathlib import Path

import numpy as np

from seesr import SeeSRPipeline
from seesr.models.dape import plain_ram
from seesr.photos.photo import read_photo

FOLDER, OUTPUT = map(Path, sys.argv[1:] or ("examples", "out/dape"))
paths = sorted(path for path in FOLDER.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
tagger_only = dict.fromkeys(("vae", "text_encoder", "tokenizer", "unet", "controlnet", "scheduler"))
pipeline = SeeSRPipeline.from_pretrained("mini", **tagger_only)  # None: this part is not loaded

OUTPUT.mkdir(parents=True, exist_ok=True)
means = []
with (OUTPUT / "tags.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["photo", "DAPE", "plain tagger"])
    for path in paths:
        photo = read_photo(path).rgb
        tags, embedding = pipeline.see(photo)  # embedding: (1, 1 + tokens, d), the mean token first
        with plain_ram(pipeline.tagger):
            plain, _ = pipeline.see(photo)
        table.writerow([path.name, *(", ".join(tag.name for tag in seen) for seen in (tags, plain))])
        means.append(embedding[0, 0].float().numpy())

means = np.stack(means)
np.savez(OUTPUT / "embeddings.npz", photos=[path.name for path in paths], means=means)
alike = means / np.linalg.norm(means, axis=1, keepdims=True)
print((OUTPUT / "tags.csv").read_text() + "cosine of each pair of photos:\n", (alike @ alike.T).round(2))
