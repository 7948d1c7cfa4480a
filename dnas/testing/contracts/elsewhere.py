"""Contract 6: the same seed gives the same supernet in another process.

There, sets of strings have another order and modules another history. What makes the supernet is
found by its name, so it must be a function, a class or a method of a class of a module: a lambda
cannot be checked.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnas.testing.contracts.given import ROWS, MakeBatch, MakeSuperNet, inputs_of, perturbed, run
from dnas.training.seeding import seed_everything

_SEED = 43
#: Set in the other process: there a script may be run a second time, with its own checks.
_INSIDE = "DNAS_CONTRACTS_ELSEWHERE"
_CHILD = "from dnas.testing.contracts.elsewhere import answer; answer()"


def check_other_process(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """The same seed gives the same weights, outputs and draws in another process.

    Nothing is checked of functions that have no name to be found by.
    """
    makers = [_address(make_supernet), _address(make_batch)]
    if None not in makers and _INSIDE not in os.environ:
        compare(describe(make_supernet, make_batch), _asked({"makers": makers}))


def compare(here: dict[str, Any], there: dict[str, Any]) -> None:
    """Check two answers of :func:`describe`.

    Raises:
        AssertionError: They differ; the message says in what.
    """
    assert list(here["weights"]) == list(there["weights"]), (
        "contract 6: in another process the supernet has other parameters, or in another order: "
        f"{list(here['weights'])[:5]} and {list(there['weights'])[:5]}; do not walk through a set"
    )
    other = [name for name, hashed in here["weights"].items() if there["weights"][name] != hashed]
    assert not other, (
        f"contract 6: with the same seed {other[:5]} start with other weights in another process; "
        "do not walk through a set, use hash() or a generator of your own when making them"
    )
    assert here["architectures"] == there["architectures"], (
        "contract 6: with the same seed other architectures are drawn in another process"
    )
    same = all(
        math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5)
        for a, b in zip(here["outputs"], there["outputs"], strict=True)
    )
    assert same, (
        "contract 6: with the same seed forward gives other outputs in another process; "
        "make_batch must draw from torch's global generator too"
    )


def describe(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> dict[str, Any]:
    """What must not depend on the process: initial weights, draws and outputs."""
    seed_everything(_SEED)
    net = make_supernet()
    weights = {name: _hash(parameter) for name, parameter in net.named_parameters()}
    seed_everything(_SEED)
    inputs = inputs_of(make_batch)
    perturbed(net, theta=True).eval()
    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        output = run(net, inputs, net.soft_sample(1.0, ROWS, generator))
    return {
        "weights": weights,
        "architectures": [net.sample_arch(generator=generator).id for _ in range(5)],
        "outputs": output.flatten().tolist(),
    }


def _hash(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest()[:16]


def _address(maker: Callable[..., Any]) -> dict[str, str] | None:
    """Where another process finds ``maker``; None: it cannot."""
    owner = getattr(maker, "__self__", None)
    if owner is not None and not _made_alike(owner):
        return None
    named: Any = maker if owner is None else type(owner)
    module = sys.modules.get(getattr(named, "__module__", ""))
    file = getattr(module, "__file__", None)
    name = getattr(named, "__qualname__", "<none>")
    if module is None or file is None or "<" in name:
        return None
    address = {"module": module.__name__, "file": str(Path(file).resolve()), "name": name}
    return address if owner is None else {**address, "method": maker.__name__}


def _made_alike(owner: Any) -> bool:
    """Whether another process makes an equal object by calling its class: it holds nothing."""
    if isinstance(owner, type):
        return False  # a class method: its class is what holds
    try:
        inspect.signature(type(owner)).bind()
        return not vars(owner)
    except (TypeError, ValueError):
        return False


def _found(address: dict[str, str]) -> Any:
    """What :func:`_address` pointed at."""
    try:
        module = importlib.import_module(address["module"])
    except ImportError:
        module = None
    # A script is __main__ where it is run, and there __main__ is another one, without a file.
    file = getattr(module, "__file__", None)
    if module is None or str(Path(file or "").resolve()) != address["file"]:
        spec = importlib.util.spec_from_file_location("_found_elsewhere", address["file"])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    found: Any = module
    for part in address["name"].split("."):
        found = getattr(found, part)
    return getattr(found(), address["method"]) if "method" in address else found


def _asked(question: dict[str, Any]) -> dict[str, Any]:
    """What another process answers."""
    asked = {**question, "path": sys.path, "threads": torch.get_num_threads()}
    process = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONHASHSEED": "12345",
            "PYTHONPATH": os.pathsep.join(sys.path),
            _INSIDE: "1",
        },
    )
    assert process.returncode == 0, (
        "contract 6: the supernet cannot be made in another process:\n"
        f"{process.stderr.strip()[-2000:]}"
    )
    answered: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return answered


def answer() -> None:
    """The other process: a question on standard input, the answer on standard output."""
    question = json.load(sys.stdin)
    sys.path[:] = question["path"]
    torch.set_num_threads(question["threads"])
    make_supernet, make_batch = map(_found, question["makers"])
    sys.stdout.write(json.dumps(describe(make_supernet, make_batch)) + "\n")
