"""Verbs of the program as functions: the same work, options, files and numbers as on the command line.

The program in this wheel runs in a separate process; its lines of progress go to ``sys.stderr`` or to a callback, and its JSON
document is returned. Ctrl-C stops the program at its next step, as on a terminal, and raises ``KeyboardInterrupt``.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from threading import Thread
from typing import IO, Any

__all__ = ["compare", "evaluate", "predict", "train"]

Path = str | os.PathLike[str]
Follow = Callable[[str], None] | None


def evaluate(
    *,
    labels: Path,
    out: Path,
    probabilities: Path | None = None,
    logits: Path | None = None,
    segmentations: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    follow: Follow = None,
    **options: Any,
) -> dict[str, Any]:
    """Measures stored predictions against references, as ``segcal evaluate``.

    Args:
        labels: Reference label maps, a file or a folder.
        out: Folder of the results: tables, summary.json, report.html.
        probabilities: The predictions as class probabilities, a file or a folder. Give this or one of the next two.
        logits: The predictions as logits.
        segmentations: The predictions as label maps.
        settings: Keys of the config, such as ``{"bins": 10}``.
        follow: Gets each line of progress; ``sys.stderr`` if None.
        options: Options of the command, such as ``voxel_units=True`` for ``--voxel-units``.

    Returns:
        The document of summary.json; cases that failed are under ``failed``.

    Raises:
        ValueError: Wrong usage or unreadable input, with the program's message.
    """
    given = {"probabilities": probabilities, "logits": logits, "segmentations": segmentations}
    return _run(["evaluate", *_settings(settings)], given | {"labels": labels, "out": out} | options, follow)


def train(
    config: Path, settings: Mapping[str, Any] | None = None, *, resume: bool = False, follow: Follow = None, **options: Any
) -> str:
    """Trains a network, as ``segcal train``.

    Args:
        config: A TOML file.
        settings: Keys that override those of the config, such as ``{"loss.name": "nacl", "out": "runs/nacl"}``.
        resume: Whether to continue a run that was interrupted.
        follow: Gets each line of progress; ``sys.stderr`` if None.
        options: Options of the command.

    Returns:
        The run folder.

    Raises:
        ValueError: The config or a case is malformed.
        RuntimeError: Training that had begun could not continue.
    """
    return str(_run(["train", os.fspath(config), *_settings(settings)], {"resume": resume} | options, follow)["run"])


def predict(run: Path, images: Path | None = None, *, out: Path, follow: Follow = None, **options: Any) -> dict[str, Any]:
    """Segments images with a trained network, as ``segcal predict``.

    Args:
        run: Folder of the run.
        images: An image, or a folder of images; None with ``split="val"`` or another part of the run's data set.
        out: Folder of the results.
        follow: Gets each line of progress; ``sys.stderr`` if None.
        options: Options of the command, such as ``split="val"`` or ``write="segmentations"``.

    Returns:
        ``{"out": folder, "cases": names, "failed": number}``.

    Raises:
        ValueError: The run or an image cannot be read.
    """
    given = [os.fspath(path) for path in (run, images) if path is not None]
    return _run(["predict", *given], {"out": out} | options, follow)


def compare(plan: Path, *, follow: Follow = None, **options: Any) -> dict[str, Any]:
    """Trains losses x seeds and compares their evaluations, as ``segcal compare``; continues where it stopped.

    Args:
        plan: A TOML file.
        follow: Gets each line of progress; ``sys.stderr`` if None.
        options: Options of the command.

    Returns:
        The program's JSON document.

    Raises:
        ValueError: The plan is malformed.
        RuntimeError: A run that had begun could not continue.
    """
    return _run(["compare", os.fspath(plan)], options, follow)


def _settings(settings: Mapping[str, Any] | None) -> list[str]:
    """``key=value`` arguments, with values in TOML syntax."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in (settings or {}).items()]


def _options(options: Mapping[str, Any]) -> Iterable[str]:
    """Options of the command; True becomes a flag, None and False are left out."""
    for name, value in options.items():
        if value is not None and value is not False:
            option = f"--{name.replace('_', '-')}"
            yield option if value is True else f"{option}={os.fspath(value) if isinstance(value, os.PathLike) else value}"


def _run(words: list[str], options: Mapping[str, Any], follow: Follow) -> dict[str, Any]:
    command = [sys.executable, "-m", "segcal", *words, *_options(options), "--json"]
    # A new session: Ctrl-C on a terminal then reaches only this process, which passes it on once.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None and process.stderr is not None
    lines: list[str] = []
    reader = Thread(target=_follow, args=(process.stderr, follow or _to_stderr, lines), daemon=True)
    reader.start()
    try:
        text = process.stdout.read()
        status = process.wait()
    except BaseException:
        _stop(process)
        raise
    finally:
        # A second Ctrl-C may have come before the first was passed on.
        _stop(process)
        reader.join()
        process.stdout.close()
        process.stderr.close()
    return _document(status, text, lines)


def _stop(process: subprocess.Popen[str]) -> None:
    """Passes Ctrl-C on to a running program, and every further one until it ends."""
    while process.poll() is None:
        try:
            process.send_signal(signal.SIGINT)
            process.wait()
        except KeyboardInterrupt:
            continue


def _document(status: int, text: str, lines: list[str]) -> dict[str, Any]:
    """Returns the program's document or raises its error. Failed cases are listed in the document."""
    if status == 0 or (status == 1 and text):
        return dict(json.loads(text))
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    message = errors[-1] if errors else "\n".join(lines[-3:]) or f"the program ended with status {status}"
    if status in (-signal.SIGINT, 130):
        raise KeyboardInterrupt(message)
    raise ValueError(message) if status == 2 else RuntimeError(message)


def _follow(stream: IO[str], follow: Callable[[str], None], lines: list[str]) -> None:
    for line in stream:
        lines.append(line.rstrip("\n"))
        follow(lines[-1])


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
