"""What the tests share: the program as a user calls it, and random problems."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does.
settings.register_profile("segcal", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("segcal")

Command = Callable[..., Any]


@pytest.fixture(scope="session")
def command() -> Command:
    """Runs ``segcal ARGUMENTS --json`` and gives the document that it prints."""

    def run(*arguments: str | Path) -> Any:
        line = [sys.executable, "-m", "segcal", *map(str, arguments), "--json"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261128)
