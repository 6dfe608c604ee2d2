"""`import whet` is light, and its names work in every order of imports."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = "torch numpy transformers lightning faiss datasets ir_measures pyarrow scipy hydra rich"

STAND_IN = """
import sys, types
api = types.ModuleType("whet.api")
api.evaluate = lambda *args, **options: (args, options)
api.fit = lambda data: data
sys.modules["whet.api"] = api
"""


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import whet",
        "import whet.config, whet.errors",
        "import whet; whet.DataError; dir(whet)",
        "from whet_launch.cli import main; main(['--help'])",
        "from whet_launch.cli import main; main(['fit', '--help'])",
        "from whet_launch.cli import main; main(['--version'])",
        "from whet_launch.cli import main; assert main(['fit', 'mining=naiv']) == 2",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    told = f"import sys; print('loaded:', *sorted(set('{HEAVY}'.split()) & set(sys.modules)))"
    assert _python(f"{code}\n{told}").splitlines()[-1] == "loaded:"


@pytest.mark.parametrize(
    "imports",
    [
        "import whet",
        "import whet.evaluate",
        "import whet.evaluate.significance; import whet",
        "from whet.evaluate import significance; from whet import evaluate; import whet",
        "import whet; whet.evaluate; import whet.evaluate.significance",
    ],
)
def test_a_room_is_also_a_function(imports: str) -> None:
    use = "print(whet.evaluate(1, split='test'), whet.evaluate.significance.__name__, whet.fit(2))"
    assert _python(f"{STAND_IN}{imports}\nimport whet.evaluate.significance\n{use}") == (
        "((1,), {'split': 'test'}) whet.evaluate.significance 2"
    )


def test_an_unknown_name_lists_the_known() -> None:
    code = "import whet\ntry: whet.fti\nexcept AttributeError as error: print(error)"
    assert "module 'whet' has no attribute 'fti'. It has: __version__, fit" in _python(code)
    assert _python("import whet; print(hasattr(whet, 'nothing'))") == "False"


def test_every_public_name_is_listed() -> None:
    code = "import whet; print(set(whet.__all__) <= set(dir(whet)), 'Encoder' in whet.__all__)"
    assert _python(code) == "True True"
