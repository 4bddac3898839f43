"""Every benchmark, one after another: `make bench`. About five minutes; leave the machine alone meanwhile."""

import subprocess
import sys
from pathlib import Path

for name, *arguments in (("delay",), ("processes",), ("stage_speakers",), ("jitter",), ("tls",)):
    print(f"\n## {name}\n", flush=True)
    subprocess.run([sys.executable, str(Path(__file__).parent / f"{name}.py"), *arguments], check=True)
