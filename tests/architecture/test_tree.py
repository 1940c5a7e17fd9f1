"""What stands in the repository: files of readable size, no machine's paths, no registry."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Above this a file has two subjects, or a reason that stands beside its name here.
MOST_LINES = 500
LONG_FOR_A_REASON: dict[str, str] = {}

# Spelt so that this file does not name them itself.
HOSTS = (
    r"pypi\.org|python" r"hosted\.org|registry\.npm" r"js|npm" r"js\.(com|org)|deb\.deb" r"ian\.org"
)
PLACES = r"(^|[^A-Za-z0-9_.])/(wo" r"rk|fa" r"rm|ro" r"ot|ho" r"me|Us" r"ers)/"


def _tracked() -> list[Path]:
    """What git tracks, or would on the next `git add`."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def _lines_that_match(pattern: str) -> list[str]:
    sought = re.compile(pattern)
    found: list[str] = []
    for path in _tracked():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:  # a picture, a binary frame
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
            for number, line in enumerate(lines, 1)
            if sought.search(line)
        ]
    return found


def test_no_file_names_a_package_registry() -> None:
    assert _lines_that_match(HOSTS) == []


def test_no_file_names_a_place_on_one_machine() -> None:
    assert _lines_that_match(PLACES) == []


def test_no_source_file_is_two_things() -> None:
    long = {
        str(path.relative_to(ROOT))
        for path in _tracked()
        if path.suffix == ".py"
        and not path.is_relative_to(ROOT / "tests")
        and len(path.read_text().splitlines()) > MOST_LINES
    }
    assert long - LONG_FOR_A_REASON.keys() == set()


def test_every_lock_entry_has_a_hash() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        entries = re.split(r"\n(?=[a-z0-9])", lock.read_text())
        pinned = [entry for entry in entries if "==" in entry]
        assert pinned, lock
        assert [entry for entry in pinned if "--hash=sha256:" not in entry] == [], lock
