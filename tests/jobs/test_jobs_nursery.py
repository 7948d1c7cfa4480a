"""Jobs that a nursery has started: the same as any other, and nothing lost when it goes."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import dnas.jobs.executors.nurseries as nurseries
from dnas.jobs import LocalExecutor, Order
from dnas.jobs.attempt import JOB_ATTEMPT_VARIABLE, JOB_FOLDER_VARIABLE, read_attempt
from dnas.jobs.executors import Handle
from dnas.jobs.preload import modules_for
from dnas.jobs.processes import kill_by_variables, process_mark
from dnas.runs import JobFolder

ROOT = Path(__file__).resolve().parents[2]
#: A standard module that no script here imports: who has it was forked by a warm nursery.
TELLTALE = "colorsys"
IS_WARM = f"'{TELLTALE}' in __import__('sys').modules"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nurseries count threads in /proc")


class Bench:
    """Makes jobs of scripts in a folder, and runs them one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._number = 0

    def script(self, text: str, name: str = "script.py") -> Path:
        path = self.path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def job(self, script: Path, *arguments: str, **variables: str) -> tuple[JobFolder, Order]:
        self._number += 1
        folder = JobFolder(self.path / f"job{self._number}")
        folder.path.mkdir()
        fixed = {JOB_FOLDER_VARIABLE: str(folder.path), JOB_ATTEMPT_VARIABLE: "1"}
        order = Order(
            argv=(sys.executable, str(script), *arguments),
            variables=fixed | variables,
            cwd=str(self.path),
            attempt=1,
            heartbeat_s=0.1,
        )
        order.write(folder)
        return folder, order

    def run(self, executor: LocalExecutor, script: Path, *arguments: str, **variables: str) -> dict:
        """What the attempt's file says, and ``log``: all but the supervisor's own lines."""
        [handle] = handles = executor.submit([self.job(script, *arguments, **variables)])
        self.wait_for(executor, handles)
        lines = handle.folder.log.read_text().splitlines(keepends=True)
        record = read_attempt(handle.folder.attempt(1)) or {}
        return record | {"log": "".join(line for line in lines if not line.startswith("==="))}

    def wait_for(self, executor: LocalExecutor, handles: list[Handle]) -> None:
        """Until exactly these have ended."""
        waiting = list(handles)
        deadline = time.monotonic() + 60
        while waiting:
            assert time.monotonic() < deadline, f"no end: {waiting}"
            for handle in executor.poll(1):
                waiting.remove(handle)

    def warm_up(self, executor: LocalExecutor, script: Path, **variables: str) -> None:
        """Until jobs of this script are forked by a nursery."""
        executor.submit([self.job(script, **variables)])
        deadline = time.monotonic() + 60
        while not nursery_of(executor).is_ready():
            assert time.monotonic() < deadline, "no nursery"
            time.sleep(0.01)
        assert executor.poll(60)


def nursery_of(executor: LocalExecutor) -> nurseries.Nursery:
    """The one that serves now."""
    assert executor._nurseries is not None
    nursery = executor._nurseries._warm or executor._nurseries._light
    assert nursery is not None
    return nursery


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("COLUMNS", "LINES"):  # set by the test runner's readline behind Python's back
        monkeypatch.setenv(name, "80")
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path)


@pytest.fixture
def warm() -> Iterator[LocalExecutor]:
    executor = LocalExecutor(preload=(TELLTALE,))
    yield executor
    executor.close()


@pytest.fixture
def cold() -> LocalExecutor:
    return LocalExecutor(warm=False)


# ---- a job cannot tell ------------------------------------------------------------------------


def test_a_warm_job_finds_what_a_cold_one_finds(
    bench: Bench, warm: LocalExecutor, cold: LocalExecutor
) -> None:
    script = bench.script("""
        import faulthandler, gc, json, os, signal, sys, threading
        handlers = [str(signal.getsignal(n)) for n in sorted(signal.valid_signals())]
        main = sys.modules["__main__"]
        print(json.dumps({
            "argv": sys.argv, "orig": sys.orig_argv, "path": sys.path, "flags": list(sys.flags),
            "env": dict(os.environ), "cwd": os.getcwd(), "name": __name__, "file": __file__,
            "globals": sorted(k for k in globals() if k.startswith("__")),
            "loader": type(__loader__).__name__, "same": main.__dict__ is globals(),
            "spec": __spec__, "package": __package__, "cached": __cached__,
            "handlers": handlers, "blocked": [int(n) for n in signal.pthread_sigmask(0, [])],
            "stdin": sys.stdin.read(), "faults": faulthandler.is_enabled(), "gc": gc.isenabled(),
            "files": sorted(os.readlink(f"/proc/self/fd/{n}") for n in range(3)),
            "threads": [t.name for t in threading.enumerate()],
            "is_main": threading.get_native_id() == os.getpid(),
            "streams": [
                [s.encoding, s.errors, s.line_buffering, s.write_through, s.name, s.fileno()]
                for s in (sys.stdin, sys.stdout, sys.stderr)
            ],
            "excepthook": sys.excepthook is sys.__excepthook__,
            "group": os.getpgid(0) == os.getpid(),
        }))
        """)
    bench.warm_up(warm, script, FOO="a")
    variables = {"FOO": "a", "CUDA_VISIBLE_DEVICES": "7", "LEFT": "\udcff", "LEFT2": ""}
    bench.warm_up(other := LocalExecutor(preload=(TELLTALE,)), script, **variables)
    found = [
        json.loads(bench.run(executor, script, "--a=b c", "é", **variables)["log"])
        for executor in (other, cold)
    ]
    other.close()
    for each in found:
        del each["env"][JOB_FOLDER_VARIABLE], each["files"]
    assert sorted(found[0].pop("env").items()) == sorted(found[1].pop("env").items())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "text",
    [
        "print('a', end='')",
        "import sys; sys.exit()",
        "import sys; sys.exit(3)",
        "import sys; sys.exit(256 + 7)",
        "import sys; sys.exit(-1)",
        "import sys; sys.exit(True)",
        "import sys; print('before'); sys.exit('no such thing')",
        "import sys; sys.exit((1, 2))",
        "raise SystemExit",
        "def f():\n    raise ValueError('é')\nf()",
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('x') from e",
        "x = = 1",
        "import os; print('lost?', flush=True); os._exit(9)",
        "raise KeyboardInterrupt",
        "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(60)",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import os; os.abort()",
        "import os; os.kill(os.getpid(), 9)",
        "import os, signal; signal.raise_signal(signal.SIGPIPE); print('ignored')",
        "import atexit; atexit.register(print, 1); atexit.register(print, 2); print('zero')",
        "import atexit, sys; atexit.register(sys.exit, 5); print('zero')",
        "import atexit\n@atexit.register\ndef f():\n    raise ValueError('late')",
        "class A:\n    def __del__(self):\n        print('deleted')\na = A()",
        "f = open('late.txt', 'w'); f.write('x'); import atexit, os\n"
        "class A:\n    def __del__(self):\n        print(os is not None)\na = A()",
        "import sys; sys.excepthook = lambda *a: print('mine', a[0].__name__); raise ValueError",
        "import sys\ndef h(*a):\n    sys.exit(4)\nsys.excepthook = h\nraise ValueError",
        "import threading, time\n"
        "def f():\n    time.sleep(0.2); print('joined')\n"
        "threading.Thread(target=f).start()\nprint('main')",
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint('main')",
        "import sys; sys.stdout.close(); sys.stderr.write('x')",
        "import os; os.close(1); print('nowhere')",
        "import sys; print(sys.stdin.readline() == '', sys.argv); input()",
        "import os\nif os.fork() == 0:\n    raise SystemExit(5)\n"
        "print(os.waitstatus_to_exitcode(os.wait()[1]))",
    ],
)
def test_a_warm_job_ends_as_a_cold_one(
    bench: Bench, warm: LocalExecutor, cold: LocalExecutor, text: str
) -> None:
    bench.warm_up(warm, bench.script("", "empty.py"))
    script = bench.script(text)
    script.write_text(text, encoding="utf-8")
    found = [bench.run(executor, script) for executor in (warm, cold)]
    for each in found:
        each["log"] = re.sub(" at 0x[0-9a-f]+", "", each["log"])
    keys = ("log", "exit_code", "end", "state", "start_error")
    assert [found[0][key] for key in keys] == [found[1][key] for key in keys]


def test_the_jobs_above_are_warm(bench: Bench, warm: LocalExecutor, cold: LocalExecutor) -> None:
    script = bench.script(f"print({IS_WARM})")
    bench.warm_up(warm, script)
    assert bench.run(warm, script)["log"] == "True\n"
    assert bench.run(cold, script)["log"] == "False\n"


def test_a_file_that_nobody_closed_is_written(bench: Bench, warm: LocalExecutor) -> None:
    script = bench.script("file = open('late.txt', 'w'); file.write('all of it')")
    bench.warm_up(warm, script)
    (bench.path / "late.txt").unlink()
    assert bench.run(warm, script)["exit_code"] == 0
    assert (bench.path / "late.txt").read_text() == "all of it"


def test_a_warm_job_inherits_no_files(bench: Bench, warm: LocalExecutor) -> None:
    script = bench.script("import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))")
    bench.warm_up(warm, script)
    assert bench.run(warm, script)["log"] == "[0, 1, 2, 3]\n"  # the last one lists


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_warm_job_can_start_processes(bench: Bench, warm: LocalExecutor, method: str) -> None:
    script = bench.script(f"""
        import multiprocessing, pickle
        class Thing:
            def __init__(self, number):
                self.number = number
        def double(thing):
            return Thing(2 * thing.number)
        if __name__ == "__main__":
            assert isinstance(pickle.loads(pickle.dumps(Thing(1))), Thing)
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                print([thing.number for thing in pool.map(double, [Thing(1), Thing(2)])])
        """)
    bench.warm_up(warm, bench.script("", "empty.py"))
    record = bench.run(warm, script)
    assert (record["log"], record["exit_code"]) == ("[2, 4]\n", 0)


def test_nothing_goes_from_one_job_to_the_next(bench: Bench, warm: LocalExecutor) -> None:
    script = bench.script(f"""
        import os, random, sys
        import {TELLTALE} as module
        print({IS_WARM}, os.environ.get("NEW"), os.environ.get("CUDA_VISIBLE_DEVICES"),
              hasattr(module, "mark"), os.getcwd(), sys.path[-1], random.random())
        os.environ["NEW"] = os.environ["CUDA_VISIBLE_DEVICES"] = "left"
        module.mark = 1
        sys.path.append("left")
        os.chdir("/")
        """)
    bench.warm_up(warm, script)
    first = bench.run(warm, script)["log"].split()
    second = bench.run(warm, script, CUDA_VISIBLE_DEVICES="3")["log"].split()
    third = bench.run(warm, script)["log"].split()
    assert first[:5] == third[:5] == ["True", "None", "None", "False", str(bench.path)]
    assert second[:4] == ["True", "None", "3", "False"]
    assert "left" not in first + second + third
    assert len({first[-1], second[-1], third[-1]}) == 3, "random numbers are drawn anew"


def test_what_decides_how_modules_load_makes_a_job_cold(bench: Bench, warm: LocalExecutor) -> None:
    script = bench.script(f"import os; print({IS_WARM}, os.environ.get('MALLOC_ARENA_MAX'))")
    elsewhere = bench.path / "elsewhere"
    elsewhere.mkdir()
    other = bench.script(f"print({IS_WARM})", "elsewhere/other.py")
    bench.warm_up(warm, script)
    assert bench.run(warm, script, MALLOC_ARENA_MAX="1")["log"] == "False 1\n"
    assert bench.run(warm, other)["log"] == "False\n"
    assert bench.run(warm, script, OMP_NUM_THREADS="2", MKL_NUM_THREADS="3")["log"][:5] == "False"
    assert bench.run(warm, script, OMP_NUM_THREADS="2", MKL_NUM_THREADS="2")["log"][:4] == "True"


@pytest.mark.parametrize("options", [("-S",), ("-m", "json.tool", "--help"), ("-c", "print(1)")])
def test_options_of_python_are_left_to_python(
    bench: Bench, warm: LocalExecutor, options: tuple[str, ...]
) -> None:
    script = bench.script(f"print({IS_WARM})")
    bench.warm_up(warm, script)
    folder, order = bench.job(script)
    argv = (sys.executable, *options, str(script))
    order = Order(**{**vars(order), "argv": argv})
    order.write(folder)
    warm.submit([(folder, order)])
    assert warm.poll(60)
    assert (read_attempt(folder.attempt(1)) or {})["exit_code"] == 0
    assert "True" not in folder.log.read_text()


def test_a_script_that_has_gone_is_pythons_to_report(bench: Bench, warm: LocalExecutor) -> None:
    script = bench.script("")
    bench.warm_up(warm, script)
    script.unlink()
    record = bench.run(warm, script)
    assert record["exit_code"] == 2
    assert "can't open file" in record["log"]


# ---- nothing lost -----------------------------------------------------------------------------

WAIT = """
    import os, pathlib, time
    pathlib.Path(os.environ["DNAS_JOB_FOLDER"], "runs").touch()
    while not os.path.exists(os.path.join(os.environ["DNAS_JOB_FOLDER"], "go")):
        time.sleep(0.02)
    """


def test_jobs_outlive_a_nursery_that_is_killed_and_others_follow(
    bench: Bench, warm: LocalExecutor, eventually: Callable[..., None]
) -> None:
    quick, slow = bench.script(f"print({IS_WARM})", "quick.py"), bench.script(WAIT)
    bench.warm_up(warm, quick)
    [handle] = warm.submit([bench.job(slow)])
    eventually((handle.folder.path / "runs").exists, "it runs")
    before = nursery_of(warm).pid
    os.kill(before, signal.SIGKILL)
    (first, _), (second, _) = jobs = [bench.job(quick), bench.job(quick)]
    handles = warm.submit(jobs)
    bench.wait_for(warm, handles)
    assert [(read_attempt(f.attempt(1)) or {})["exit_code"] for f in (first, second)] == [0, 0]
    assert first.log.read_text().endswith("False\n"), "the plain way, as there is none"
    bench.warm_up(warm, quick)
    assert bench.run(warm, quick)["log"] == "True\n", "a new one"
    assert nursery_of(warm).pid != before
    (handle.folder.path / "go").touch()
    assert warm.poll(30) == [handle]
    assert (read_attempt(handle.folder.attempt(1)) or {})["exit_code"] == 0


def test_a_nursery_that_hangs_is_given_up(
    bench: Bench, warm: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nurseries, "_ANSWER_S", 0.2)
    script = bench.script("print(file=open('starts', 'a'))")
    bench.warm_up(warm, script)
    (bench.path / "starts").unlink()
    nursery = nursery_of(warm)
    os.kill(nursery.pid, signal.SIGSTOP)
    assert bench.run(warm, script)["exit_code"] == 0
    assert (bench.path / "starts").read_text() == "\n", "started once"
    assert process_mark(nursery.pid) is None


def test_who_cannot_answer_starts_nothing(bench: Bench, warm: LocalExecutor) -> None:
    script = bench.script("print(file=open('starts', 'a'))")
    bench.warm_up(warm, script)
    (bench.path / "starts").unlink()
    folder, _ = bench.job(script)
    nursery = nursery_of(warm)
    request = {"folder": str(folder.path), "attempt": 1, "engine": "local", "environment": {}}
    # Given up while the request was on its way.
    nursery._socket.shutdown(socket.SHUT_RD)
    nursery._socket.sendall(json.dumps(request).encode() + b"\n")
    nursery._socket.shutdown(socket.SHUT_WR)
    assert nursery._process.wait(30) == 0, "it ends when its manager has gone"
    assert not (bench.path / "starts").exists()
    assert read_attempt(folder.attempt(1)) is None


def test_nurseries_that_keep_dying_are_not_started_for_ever(
    bench: Bench, warm: LocalExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    script = bench.script("")
    for _ in range(nurseries._MAX_DEATHS):
        assert bench.run(warm, script)["exit_code"] == 0  # starts a nursery
        os.kill(nursery_of(warm).pid, signal.SIGKILL)
        nursery_of(warm)._process.wait()
        assert bench.run(warm, script)["exit_code"] == 0  # finds it dead
    for _ in range(3):
        assert bench.run(warm, script)["exit_code"] == 0
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] != []
    assert warm._nurseries is not None
    assert warm._nurseries._warm is None


def test_no_zombies_are_left(bench: Bench, warm: LocalExecutor) -> None:
    script = bench.script("")
    bench.warm_up(warm, script)
    handles = warm.submit([bench.job(script) for _ in range(5)])
    bench.wait_for(warm, handles)
    pid = nursery_of(warm).pid
    assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""
    assert not any(Path(f"/proc/{handle.pid}").exists() for handle in handles)
    warm.close()
    assert not Path(f"/proc/{pid}").exists()


def test_what_a_warm_job_leaves_is_found_by_its_variables(
    bench: Bench, warm: LocalExecutor, eventually: Callable[..., None]
) -> None:
    script = bench.script(WAIT)
    bench.warm_up(warm, bench.script("", "empty.py"))
    [handle] = warm.submit([bench.job(script, "--some")])
    eventually((handle.folder.path / "runs").exists, "it runs")
    file = handle.folder.attempt(1)
    eventually(lambda: "job_pid" in (read_attempt(file) or {}), "its pid is written")
    pid = (read_attempt(file) or {})["job_pid"]
    shown = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    assert shown == [os.fsencode(w) for w in (sys.executable, str(script), "--some")]
    supervisor = Path(f"/proc/{handle.pid}/cmdline").read_text()
    assert "dnas.jobs.supervisor" in supervisor
    assert "nursery" not in supervisor
    kill_by_variables({JOB_FOLDER_VARIABLE: str(handle.folder.path), JOB_ATTEMPT_VARIABLE: "2"})
    assert warm.poll(0.3) == []
    kill_by_variables({JOB_FOLDER_VARIABLE: str(handle.folder.path), JOB_ATTEMPT_VARIABLE: "1"})
    assert warm.poll(30) == [handle]
    assert (read_attempt(handle.folder.attempt(1)) or {})["exit_code"] == -9


def test_a_killed_manager_takes_its_nursery_along_and_its_jobs_are_adopted(
    bench: Bench, eventually: Callable[..., None]
) -> None:
    script = bench.script(WAIT)
    first, second = bench.job(bench.script("", "empty.py")), bench.job(script)
    manager = bench.script(
        f"""
        import json, sys, time
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from dnas.jobs import LocalExecutor, Order
        from dnas.runs import JobFolder
        def order(path):
            found = json.loads((path / "order.json").read_text())
            return JobFolder(path), Order(**{{**found, "argv": tuple(found["argv"])}})
        executor = LocalExecutor(preload=("{TELLTALE}",))
        executor.submit([order(Path({str(first[0].path)!r}))])
        nursery = executor._nurseries._warm
        while not nursery.is_ready():
            time.sleep(0.01)
        [handle] = executor.submit([order(Path({str(second[0].path)!r}))])
        print(json.dumps({{"nursery": nursery.pid, "token": handle.token}}), flush=True)
        time.sleep(600)
        """,
        "manager.py",
    )
    with subprocess.Popen([sys.executable, str(manager)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        eventually((second[0].path / "runs").exists, "it runs")
        assert process_mark(said["nursery"]) is not None
        process.kill()
    eventually(lambda: process_mark(said["nursery"]) is None, "the nursery has gone")
    executor = LocalExecutor(warm=False)
    handle = executor.adopt(second[0], 1, said["token"])
    assert handle is not None
    assert executor.poll(0.2) == []
    (second[0].path / "go").touch()
    assert executor.poll(30) == [handle]
    assert (read_attempt(second[0].attempt(1)) or {})["exit_code"] == 0


THREAD = """
    import threading, time
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    """


# ---- what is imported ahead -------------------------------------------------------------------


def test_threads_make_all_jobs_cold_and_are_told_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    # The script's own folder comes first, and torch is trusted to start none.
    bench.script(THREAD, "torch.py")
    script = bench.script("import sys; print('torch' in sys.modules)")
    executor = LocalExecutor(preload=("torch",))
    logs = [bench.run(executor, script)["log"] for _ in range(3)]
    assert logs == ["False\n"] * 3
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "torch" in warnings[0]
    assert "2 threads" in warnings[0]
    executor.close()


def test_a_module_that_starts_threads_or_fails_is_left_to_the_jobs(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.script(THREAD, "threaded.py")
    bench.script("import calendar\n1 / 0", "broken.py")
    bench.script("import os\nos.abort()", "crashing.py")
    names = ("broken", "threaded", "no_such_module", "crashing")
    script = bench.script(
        f"import sys; print({IS_WARM}, [n for n in {names} + ('calendar',) if n in sys.modules])"
    )
    executor = LocalExecutor(preload=(*names, TELLTALE))
    with caplog.at_level(logging.INFO):
        assert bench.run(executor, script)["log"] == "True []\n"
    said = " ".join(record.getMessage() for record in caplog.records)
    for word in (*names, "ZeroDivisionError", "2 threads", "-6"):
        assert word in said
    executor.close()


def test_modules_are_chosen_by_the_script(bench: Bench) -> None:
    assert modules_for(str(ROOT / "train_dnas.py")) == (
        "torch",
        "torch._dynamo",
        "dnas.cli.search",
    )
    own = bench.script("import os, mine\nimport numpy as np\nfrom torch import nn\nfrom . import x")
    assert modules_for(str(own)) == ("torch", "numpy")
    assert modules_for(str(bench.script("import os", "none.py"))) == ()
    assert modules_for(str(bench.script("x = = 1", "wrong.py"))) == ()


def test_the_environment_of_the_manager_reaches_jobs_of_a_light_nursery(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = LocalExecutor()
    script = bench.script("import os; print(os.environ.get('NEW'), os.getpid() == os.getpgid(0))")
    bench.warm_up(executor, script)
    monkeypatch.setenv("NEW", "1")
    [handle] = executor.submit([bench.job(script)])
    assert handle.popen is None  # type: ignore[attr-defined]
    assert executor.poll(30) == [handle]
    assert handle.folder.log.read_text().endswith("1 True\n")
    executor.close()


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_search_ends_with_the_same_bits(bench: Bench, threads: str) -> None:
    flags = shlex.split("""--search_space=emb_card --host_gpu_id=cpu --data_set=synthetic
        --synthetic_rows=4000 --synthetic_features=4 --synthetic_values=100
        --embedding_dimension=4 --cardinality_options 1.0 0.1 --arch_mlp_bot 8 --arch_mlp_top 8
        --weights_batch_size=256 --arch_params_batch_size=256 --n_total_s_net_training_epochs=2
        --num_warmup_epochs=1 --n_alt_train_amt=0.5 --architecture_sampling=1:2""")
    variables = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    warm, cold = LocalExecutor(), LocalExecutor(warm=False)
    runs = []
    for executor in (cold, warm):
        if executor is warm:
            # Loaded for one thread: the others are asked for afterwards.
            one = dict.fromkeys(variables, "1")
            bench.warm_up(warm, ROOT / "train_dnas.py", **one)
        result = bench.path / f"{len(runs)}" / "result.json"
        record = bench.run(
            executor, ROOT / "train_dnas.py", *flags, f"--save_metrics_param={result}", **variables
        )
        assert record["exit_code"] == 0, record["log"]
        runs.append(result.parent)
    assert nursery_of(warm).surroundings is not None, "the last one was warm"
    warm.close()
    one, other = (np.load(run / "theta.npz") for run in runs)
    assert one.files
    assert all(one[name].tobytes() == other[name].tobytes() for name in one.files)
    results = [json.loads((run / "result.json").read_text()) for run in runs]
    assert results[0]["validation"] == results[1]["validation"]
    architectures = [
        [json.loads(p.read_text())["decisions"] for p in sorted(run.glob("architectures/*"))]
        for run in runs
    ]
    assert architectures[0] == architectures[1] != []


@pytest.mark.slow
def test_libraries_are_as_if_just_imported(bench: Bench) -> None:
    script = bench.script("""
        import ctypes, json, sys
        was_there = "torch" in sys.modules
        import numpy, torch
        maps = [line.split(maxsplit=5)[-1].strip() for line in open("/proc/self/maps")]
        blas = ctypes.CDLL(next((path for path in maps if "openblas" in path), None))
        name = "scipy_openblas_get_num_threads64_"
        print(json.dumps({
            "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
            "blas": getattr(blas, name)() if hasattr(blas, name) else None,
            "cuda": torch.cuda.is_initialized(),
            "warm": was_there,
            "drawn": [torch.rand(1).item(), numpy.random.rand()],
        }))
        """)
    threads = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    warm, cold = LocalExecutor(preload=("torch", "numpy")), LocalExecutor(warm=False)
    bench.warm_up(warm, script, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    found = [json.loads(bench.run(e, script, **threads)["log"]) for e in (cold, warm, warm)]
    warm.close()
    assert [each.pop("warm") for each in found] == [False, True, True]
    drawn = [number for each in found for number in each.pop("drawn")]
    assert len(set(drawn)) == len(drawn), "no two jobs draw the same"
    assert found[0] == found[1] == found[2]
    assert found[0]["threads"][0] == 2
