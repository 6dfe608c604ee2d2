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
        "from whet_launch.cli.main import main; main(['--help'])",
        "from whet_launch.cli.main import main; main(['fit', '--help'])",
        "from whet_launch.cli.main import main; main(['--version'])",
        "from whet_launch.cli.main import main; assert main(['fit', 'mining=naiv']) == 2",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    told = f"import sys; print('loaded:', *sorted(set('{HEAVY}'.split()) & set(sys.modules)))"
    assert _python(f"{code}\n{told}").splitlines()[-1] == "loaded:"


@pytest.mark.parametrize(
    "imports",
    [
        "import whet",
        "import whet.evaluation.significance; import whet",
        "from whet import evaluate; import whet.evaluation.significance, whet",
        "import whet; whet.evaluate; import whet.evaluation.significance",
    ],
)
def test_a_verb_is_a_function_beside_the_room_of_its_work(imports: str) -> None:
    use = (
        "print(whet.evaluate(1, split='test'), whet.evaluation.significance.__name__, whet.fit(2))"
    )
    assert _python(f"{STAND_IN}{imports}\nimport whet.evaluation.significance\n{use}") == (
        "((1,), {'split': 'test'}) whet.evaluation.significance 2"
    )


def test_an_unknown_name_lists_the_known() -> None:
    code = "import whet\ntry: whet.fti\nexcept AttributeError as error: print(error)"
    assert (
        "module 'whet' has no attribute 'fti'. It has: __version__, CheckpointError, "
        in _python(code)
    )
    assert _python("import whet; print(hasattr(whet, 'nothing'))") == "False"


def test_every_public_name_is_listed() -> None:
    code = "import whet; print(set(whet.__all__) <= set(dir(whet)), 'Encoder' in whet.__all__)"
    assert _python(code) == "True True"


@pytest.mark.parametrize(
    ("old", "new"),
    [("mine", "mining"), ("mine.files", "mining"), ("world", "processes.world")],
)
def test_a_module_that_moved_names_its_new_place(old: str, new: str) -> None:
    code = f"try: import whet.{old}\nexcept ModuleNotFoundError as error: print(error)"
    assert f"is whet.{new} since Whet 0.2.0." in _python(code)


def test_the_options_are_found_where_they_always_were() -> None:
    code = (
        "from whet.config import FitConfig, ModelConfig; print(FitConfig().model == ModelConfig())"
    )
    assert _python(code) == "True"
