"""The program in the wheel."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import segcal


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "segcal", *arguments], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def test_the_script_and_the_module_have_one_version() -> None:
    script = Path(sys.executable).with_name("segcal")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"segcal {segcal.__version__}\n"


def test_exit_statuses_are_those_of_the_program(tmp_path: Path) -> None:
    assert run("list", "losses").returncode == 0
    assert run("nope").returncode == 2
    assert run("info", str(tmp_path / "missing.nii")).returncode == 2


def test_arguments_need_not_be_unicode(tmp_path: Path) -> None:
    done = run("info", os.fsdecode(os.fsencode(tmp_path) + b"/\xff.nii"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_the_program(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "segcal", "verify", "--cases", "100000"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # The first line says that the work has begun.
    assert process.stderr is not None and process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    assert process.wait() in (-signal.SIGINT, 130)


def test_importing_imports_no_numpy() -> None:
    code = "import sys, segcal; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_wheel_holds_the_licences_of_what_it_is_built_of() -> None:
    folder = Path(segcal.__file__).parent
    if (folder / "__init__.py").resolve().is_relative_to(Path(__file__).resolve().parents[1]):
        pytest.skip("the sources are under test, not the wheel")
    text = (folder / "THIRD-PARTY-LICENCES").read_text(encoding="utf-8")
    assert all(crate in text for crate in ("\npyo3 ", "\nndarray ", "\nrayon "))
    assert "Permission is hereby granted, free of charge" in text
