"""A command line ends in a sentence from its first moment, whatever its console and pipes are."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from easel.cli.main import main
from easel.cli.start import run_weights
from tests.kept import new_picture, opened
from tests.lab import lab_backend, write_pictures

# Sends Ctrl+C at the moment at which a module is looked for, whoever looks for it.
INTERRUPTED = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.argv[1] = ""
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
from easel.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def run(folder: Path, repository: Path, *command: str, encoding: str = "",
        **more: object) -> subprocess.CompletedProcess[bytes]:
    """A process in the repository with a data folder of its own."""
    env = {**os.environ, "EASEL_DATA_DIR": str(folder / "data"), "PYTHONIOENCODING": encoding}
    return subprocess.run([sys.executable, *command], cwd=repository, env=env, timeout=300,
                          check=False, stderr=subprocess.PIPE,
                          **{"stdout": subprocess.PIPE, **more})  # type: ignore[call-overload]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["typer", "sqlalchemy", "torch", "taming"])
def test_ctrl_c_while_importing_ends_in_a_word(module: str, tmp_path: Path, repository: Path,
                                               ) -> None:
    done = run(tmp_path, repository, "-c", INTERRUPTED, module, "a red apple", "--out",
               str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr.decode().splitlines() == ["Stopped."]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["pipelines", "easel", "pipelines.weights"])
def test_ctrl_c_before_the_first_import_is_done_ends_in_a_word(package: str, tmp_path: Path,
                                                               repository: Path) -> None:
    code = INTERRUPTED.replace("from easel.cli.main import main", "import runpy").replace(
        "sys.exit(main(sys.argv[2:]))", f"runpy.run_module({package!r}, run_name='__main__')")
    done = run(tmp_path, repository, "-c", code, "easel.cli.start", "a red apple")
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"Stopped.\n")


@pytest.mark.parametrize("module", ["easel.cli", "easel.cli.start", "easel.cli.app"])
def test_ctrl_c_in_the_first_imports_of_the_script_ends_in_a_word(module: str, tmp_path: Path,
                                                                  repository: Path) -> None:
    """What pip writes of the entry point, interrupted in each of its first imports."""
    facts = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))
    place, _, name = facts["project"]["scripts"]["easel"].partition(":")
    code = INTERRUPTED.replace("from easel.cli.main import main", f"from {place} import {name}"
                               ).replace("main(sys.argv[2:])", f"{name}()")
    assert f"sys.exit({name}())" in code
    done = run(tmp_path, repository, "-c", code, module, "a red apple")
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"Stopped.\n")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["easel.cli", "argparse", "easel.settings", "gradio", "torch",
                                    "easel.ui.page"])
def test_ctrl_c_while_the_server_starts_ends_in_a_word(module: str, tmp_path: Path,
                                                       repository: Path) -> None:
    code = INTERRUPTED.replace("from easel.cli.main import main", "import app").replace(
        "main(sys.argv[2:])", "app.main([])")
    assert "sys.exit(app.main([]))" in code
    done = run(tmp_path, repository, "-c", code, module)
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr.decode().splitlines()[-1:] == ["Stopped."]
    assert b"Traceback" not in done.stderr


COMMAND = """
import signal, typer

app = typer.Typer()

@app.command()
def wait() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    exec("import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)")
"""


def test_ctrl_c_in_code_that_is_made_of_a_text_ends_in_130_too(tmp_path: Path, repository: Path,
                                                               ) -> None:
    (tmp_path / "waits.py").write_text(COMMAND)
    done = run(tmp_path, repository, "-c", "import sys; sys.path.append(sys.argv[1]); "
               "from easel.cli.start import run_command; "
               "sys.exit(run_command('waits', 'waits', []))", str(tmp_path))
    assert (done.returncode, done.stderr) == (130, b"Stopped.\n")


@pytest.mark.parametrize(("command", "says"), [
    (["a red apple"], "The pictures could not be written: taken is not a folder."),
    (["runs", "resume", "0"], "The pictures could not be written: taken is not a folder."),
    (["compare", "a", "--pane", "dalle", "--pane", "unclip"],
     "The comparison could not be written: taken is not a folder.")])
def test_where_pictures_go_is_looked_at_before_anything_is_loaded(
        command: list[str], says: str, tmp_path: Path, repository: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = run(tmp_path, repository, "-c", "import sys; from easel.cli.main import main; "
               "code = main(sys.argv[1:]); sys.exit(9 if 'torch' in sys.modules else code)",
               *command, "--out", str(tmp_path / "taken"))
    assert (done.returncode, done.stderr.decode()) == (1, f"{says}\n")


@pytest.mark.parametrize("start", ["import app; app.main([])",
                                   "from easel.cli.main import main; sys.exit(main(['a']))"])
def test_a_wrong_setting_is_told_before_anything_is_loaded(start: str, tmp_path: Path,
                                                           repository: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_PORT", "abc")
    done = run(tmp_path, repository, "-c", "import atexit, sys; atexit.register(lambda: print("
               f"sorted({{'gradio', 'torch'}} & set(sys.modules)))); {start}")
    assert (done.returncode, done.stdout) == (1, b"[]\n")
    assert done.stderr.decode() == ("EASEL_PORT is not valid: a whole number between 1 and 65535, "
                                    "not 'abc'.\n")


def test_commands_that_draw_nothing_do_without_torch(tmp_path: Path, repository: Path) -> None:
    done = run(tmp_path, repository, "-c", "import sys; from easel.cli.main import main; "
               "code = main(['history', 'list']); main(['--help']); main([]); "
               "sys.exit(code or 'torch' in sys.modules or 'open_clip' in sys.modules)")
    assert done.returncode == 0, done.stderr.decode()


# Each takes from half a second to several to import, and nothing of it is needed to show the page.
HEAVY = {"alembic", "choix", "diffusers", "faiss", "open_clip", "scipy", "sklearn", "sympy", "timm",
         "torch._dynamo", "torch._inductor", "torchvision", "transformers"}


def test_the_page_is_there_before_anything_heavy_is_imported(tmp_path: Path, repository: Path,
                                                             ) -> None:
    """The second start, as the first one makes the history's tables."""
    script = (f"import sys; from urllib.request import urlopen; from tests.served import App; "
              f"from pipelines.registry import GENERATORS; from pathlib import Path; "
              f"app = App([kind() for kind in GENERATORS], data_dir=Path(sys.argv[1])); "
              f"assert b'gradio' in urlopen(app.url).read(); "
              f"print(sorted({HEAVY!r} & set(sys.modules))); app.close()")
    starts = [run(tmp_path, repository, "-c", script, str(tmp_path / "data")) for _ in range(2)]
    for done in starts:
        assert done.returncode == 0, done.stderr.decode()
    assert starts[-1].stdout.decode().splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8"])
def test_letters_that_a_console_lacks_are_replaced(encoding: str, tmp_path: Path,
                                                   repository: Path) -> None:
    with opened(tmp_path / "data" / "history") as history:
        history.add("local", [new_picture("a 🍎 on a táble")])
    done = run(tmp_path, repository, "-m", "pipelines", "history", "list", encoding=encoding)
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode(encoding)
    assert "a 🍎 on a táble" in said if encoding.startswith("utf") else "a ? on a t" in said


@pytest.mark.skipif(os.name != "posix", reason="file names are text here")
def test_names_in_other_bytes_are_printed(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "pictures"
    [picture] = write_pictures(folder, 1)
    picture.rename(folder / os.fsdecode(b"caf\xe9.png"))
    assert main(["index", str(folder)], lab_backend()) == 0
    assert main(["search", str(folder), "a cat"], lab_backend()) == 0
    assert main(["rerank", str(folder / os.fsdecode(b"caf\xe9.png")), "--prompt", "a cat"],
                lab_backend()) == 0
    said = capfdbinary.readouterr().out
    assert said.count(b"caf") == 2, said


def test_half_characters_in_arguments_are_refused(capsys: pytest.CaptureFixture[str],
                                                  tmp_path: Path) -> None:
    [picture] = write_pictures(tmp_path, 1)
    for args in (["rerank", str(picture), "--prompt", "caf\udce9"], ["search", str(tmp_path),
                                                                    "caf\udce9"],
                 ["classify", str(picture), "--labels", "a,caf\udce9"],
                 ["walk", "caf\udce9", "a cat"], ["caf\udce9"]):
        assert main(args, lab_backend()) == 2, args
        assert "half a character, which no file can store." in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_the_output_is_told(tmp_path: Path, repository: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(tmp_path, repository, "-m", "pipelines", "--help", stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "What was to be printed could not be written or read: no space left on device.\n")


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, repository: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(tmp_path, repository, "-m", "pipelines", "--help", stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_the_models_command_line_ends_in_sentences_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_weights(["download", "nothing/of-the-kind"]) == 1
    assert "nothing/of-the-kind" in capsys.readouterr().err
    assert run_weights(["unheard"]) == 2
    assert capsys.readouterr().err.endswith("; try --help.\n")


@pytest.mark.parametrize("start", [
    "from easel.cli.start import run_command; run_command('easel.cli.app', 'easel', ['--version'])",
    "import app\ntry: app.main(['--help'])\nexcept SystemExit: pass"])
def test_no_memory_is_looked_for_at_the_end(start: str, repository: Path) -> None:
    """What is registered first is called last, and sees what was left alone by then."""
    code = ("import atexit, gc\n"
            f"atexit.register(lambda: print('left alone:', gc.get_freeze_count() > 1000))\n{start}")
    run = subprocess.run([sys.executable, "-c", code], cwd=repository, text=True,
                         capture_output=True, timeout=300, check=True)
    assert run.stdout.splitlines()[-1] == "left alone: True"
