"""Drives the harnesses with atheris, one process each: `python -m fuzz.run [--seconds 20] [NAME …]`.

Says how many inputs each tried, and what it found; an input that is a finding is left in `fuzz/findings`. With `--one
NAME` it is such a process itself.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FINDINGS = HERE / "findings"


def one(name: str, seconds: int) -> None:
    """Fuzz one harness until the time is over. Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["rostra", "aiortc", "aioice"]):
        from fuzz.harnesses import HARNESSES
    with tempfile.TemporaryDirectory() as grown:
        options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"]
        options += [f"-artifact_prefix={FINDINGS}/{name}-", "-print_final_stats=1", "-verbosity=0"]
        atheris.Setup([sys.argv[0], grown, str(HERE / "corpus" / name), *options], HARNESSES[name])
        atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--one")
    given = parser.parse_args()
    if given.one:
        one(given.one, given.seconds)
    FINDINGS.mkdir(exist_ok=True)
    found = 0
    for name in given.names or sorted(folder.name for folder in (HERE / "corpus").iterdir()):
        command = [sys.executable, "-m", "fuzz.run", "--one", name, "--seconds", str(given.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        tried = re.search(r"number_of_executed_units: (\d+)", done.stdout + done.stderr)
        fine = done.returncode == 0 and tried is not None
        found += not fine
        print(f"{name:12} {tried[1] if tried else '?':>9} inputs  {'no finding' if fine else 'FINDING'}", flush=True)
        if not fine:
            print((done.stdout + done.stderr)[-3000:])
    print(f"{found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
