"""Run folders compared byte by byte, but for time, name and command."""

import json
from pathlib import Path

from reports.run_folder import read_run


def comparable(folder: Path) -> dict[str, bytes]:
    """File -> its bytes with time and name replaced, that in the command too, and without run.json's own checksum."""
    run = read_run(folder)
    document = json.loads((folder / "run.json").read_text())
    replaced = {run.created: "TIME", run.created[:10]: "DAY", run.name: "NAME"}
    contents = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        content = file.read_bytes()
        if file.name == "run.json":
            del document["checksums"]["run.json"]
            content = json.dumps(document, sort_keys=True, indent=1).encode()
        if file.suffix != ".parquet":
            for text, placeholder in replaced.items():
                content = content.replace(text.encode(), placeholder.encode())
        contents[str(file.relative_to(folder))] = content
    return contents


def first_difference(first: dict[str, bytes], second: dict[str, bytes]) -> str:
    """The first lines that differ, for whoever has to find out why; empty where nothing does."""
    if first.keys() != second.keys():
        return f"other files: {sorted(first.keys() ^ second.keys())}"
    for name, content in first.items():
        for one, two in zip(content.splitlines(), second[name].splitlines(), strict=False):
            if one != two:
                return f"{name}:\n- {one[:500]!r}\n+ {two[:500]!r}"
        if content != second[name]:
            return f"{name}: one is longer"
    return ""
