"""Shells complete the command ``easel``: by each shell itself where it is installed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPT = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from easel.__main__ import console
sys.exit(console())
"""
# What a person's shell does on Tab, after it has read what the command prints for it, with the line
# so far: what completes its last word is printed. Bash gets it word by word, with the quotes.
TAB = {
    "bash": """eval "$(_EASEL_COMPLETE=source_bash easel)"
        complete -p easel | grep -q _easel_completion || exit 9
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _easel_completion easel; printf '%s\\n' "${COMPREPLY[@]}" """,
    # Completions are shown by zsh's own functions alone, which take what it is to offer.
    "zsh": """compdef() { [[ $1 = _easel_completion && $2 = easel ]] || exit 9 }
        _arguments() {
            eval "local -a offered=(${${1#*\\(\\(}%\\)\\)})"
            print -rl -- ${offered%%:*}
        }
        _files() { }
        source =(_EASEL_COMPLETE=source_zsh easel)
        words=("${(z)1}"); CURRENT=$#words
        _easel_completion""",
    "fish": """_EASEL_COMPLETE=source_fish easel | source
        complete -C $argv[1] | string split -f 1 \\t"""}
START = {"bash": ["--norc", "--noprofile", "-c", TAB["bash"], "bash"],
         "zsh": ["-f", "-c", TAB["zsh"], "zsh"], "fish": ["--no-config", "-c", TAB["fish"]]}
LINES = [("easel hist", ["history"]), ("easel history exp", ["export"]),
         ("easel 'a red apple' --json --pre", ["--preset"])]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where ``easel`` is a command and nobody's home is touched."""
    script = tmp_path / "bin" / "easel"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    script.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EASEL_")}
    return {**kept, "HOME": str(tmp_path), "EASEL_DATA_DIR": str(tmp_path / "data"),
            "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}


def run(command: list[str], environment: dict[str, str], **more: str) -> str:
    done = subprocess.run(command, env={**environment, **more}, capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(("line", "wanted"), LINES)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_line_is_completed(environment: dict[str, str], shell: str, line: str,
                             wanted: list[str]) -> None:
    """By the shell; where it is not installed, by what its script would ask the command."""
    words = shlex.split(line, posix=False) if shell == "bash" else [line]
    if (found := shutil.which(shell)) is not None:
        answer = run([found, *START[shell], *words], environment).split()
    elif shell == "zsh":
        answer = run(["easel"], environment, _EASEL_COMPLETE="complete_zsh",
                     _TYPER_COMPLETE_ARGS=line)
        assert answer.startswith("_arguments '*: :((")
        answer = [each.split('"')[1] for each in answer.partition("((")[2].splitlines()]
    else:
        answer = [each.partition("\t")[0] for each in run(
            ["easel"], environment, _EASEL_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_ARGS=line,
            _TYPER_COMPLETE_FISH_ACTION="get-args").splitlines()]
    assert answer == wanted


@pytest.mark.parametrize(("line", "wanted"), LINES)
@pytest.mark.parametrize("shell", ["powershell", "pwsh"])
def test_powershell_gets_what_its_script_asks_for(environment: dict[str, str], shell: str,
                                                  line: str, wanted: list[str]) -> None:
    """It tells the whole line and the word that is being typed, and reads a word and its help."""
    asked = run(["easel"], environment, _EASEL_COMPLETE=f"complete_{shell}",
                _TYPER_COMPLETE_ARGS=line, _TYPER_COMPLETE_WORD_TO_COMPLETE=line.split()[-1])
    offered = [each.split(":::") for each in asked.splitlines()]
    assert [each[0] for each in offered] == wanted
    assert all(len(each) == 2 and each[1].strip() for each in offered)


@pytest.mark.parametrize(("shell", "says"), [
    *((shell, ["Register-ArgumentCompleter -Native -CommandName easel", "$_ -Split \":::\"",
               '$Env:_EASEL_COMPLETE = "complete_powershell"'])
      for shell in ("powershell", "pwsh")),
    ("bash", ["complete -o default -F _easel_completion easel", "_EASEL_COMPLETE=complete_bash"]),
    ("zsh", ["#compdef easel", "compdef _easel_completion easel", "_EASEL_COMPLETE=complete_zsh"]),
    ("fish", ["complete --command easel --no-files", "_EASEL_COMPLETE=complete_fish"])])
def test_a_script_for_each_shell_is_printed(environment: dict[str, str], shell: str,
                                            says: list[str]) -> None:
    script = run(["easel"], environment, _EASEL_COMPLETE=f"source_{shell}")
    assert [each for each in says if each not in script] == []
    if (found := shutil.which(shell)) is not None:
        path = Path(environment["HOME"]) / f"easel.{shell}"
        path.write_text(script)
        run([found, "-n", str(path)], environment)


@pytest.mark.parametrize("shell", [each for each in ("bash", "zsh", "fish") if shutil.which(each)])
def test_it_is_installed_for_the_shell_that_asks(environment: dict[str, str], shell: str) -> None:
    run([str(shutil.which(shell)), "-c", "easel --install-completion; true"], environment)
    places = {"bash": ".bash_completions/easel.sh", "zsh": ".zfunc/_easel",
              "fish": ".config/fish/completions/easel.fish"}
    assert "_EASEL_COMPLETE" in (Path(environment["HOME"]) / places[shell]).read_text()
