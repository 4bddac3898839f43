"""The pages' pure modules, run by Node as they are: no page, no clock, no build."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any, Final

import rostra

WEB: Final = Path(rostra.__file__).parent / "web"


def call(module: str, body: str, **given: Any) -> Any:
    """What the JavaScript function body `body` returns, with `module` (a path below web/) and `given` in scope."""
    source = base64.b64encode((WEB / module).read_bytes()).decode()
    names = ", ".join(("module", *given))
    program = (
        f"const module = await import('data:text/javascript;base64,{source}');"
        f"const given = {json.dumps(given)};"
        f"const found = (({names}) => {{ {body} }})(module, ...Object.values(given));"
        "console.log(JSON.stringify(found ?? null));"
    )
    command = ["node", "--input-type=module", "--eval", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
