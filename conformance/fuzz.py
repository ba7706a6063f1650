"""`make fuzz`: generated requests at every operation that is documented, and every check there is.

What schemathesis is told beyond the document is in schemathesis.toml, each with its reason.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from conformance.environments import PROJECT
from revcred.launcher.stack import Stack, running_stack
from revcred.launcher.temporary import temporary_directory

HERE = Path(__file__).parent
CASES = 1_000
SEED = """
import json
from conformance.seeding import seed, user_token
print(json.dumps({"TOKEN": seed({"fuzz": "key"})["fuzz"], "USER_TOKEN": user_token()}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help="of each operation")
    options, others = parser.parse_known_args()
    with temporary_directory() as directory, running_stack(Stack, directory, PROJECT) as stack:
        tokens = json.loads(stack.manage("shell", "--no-imports", "--command", SEED))
        stack.serve()
        return _fuzz(stack, tokens, ["--max-examples", str(options.cases), *others], directory)


def _fuzz(stack: Stack, tokens: dict[str, str], options: list[str], directory: Path) -> int:
    command = [
        *(sys.executable, "-m", "schemathesis.cli"),
        *("--config-file", str(HERE / "schemathesis.toml")),
        *("run", f"{stack.url}/v1/openapi.json"),
        *("--phases", "examples,coverage,fuzzing"),
        *("--checks", "all", "--continue-on-failure", "--generation-database", "none"),
        *options,
    ]
    said = {
        **tokens,
        "SCHEMATHESIS_HOOKS": "conformance.hooks",
        "PYTHONPATH": str(PROJECT),
    }
    return subprocess.call(command, cwd=directory, env={**os.environ, **said})  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
