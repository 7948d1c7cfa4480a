"""A whole Slurm, of one machine and no accounting, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dnas.jobs.processes import kill_by_variables

#: Programs of Debian's packages slurm-wlm and munge.
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")

#: Slurm wants devices; these stand for GPUs, and no job opens them.
_GPUS = ("/dev/null", "/dev/zero")

_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={d_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
SlurmdParameters=config_overrides
MpiDefault=none
JobRequeue=1
ReturnToService=2
MessageTimeout=5
KillWait=20
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=1000 Gres=gpu:{gpus}
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why there can be no cluster here; empty if there can."""
    missing = [program for program in PROGRAMS if not shutil.which(program, path=_path())]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "a Slurm of one's own needs root"


class SlurmCluster:
    """Starts and stops the daemons.

    Args:
        folder: Empty; holds everything. Its path must be short, for there are sockets in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = folder / "slurm.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        host = socket.gethostname().split(".")[0]
        for name in ("state", "spool"):
            (folder / name).mkdir()
        text = _CONFIG.format(
            host=host, folder=folder, gpus=len(_GPUS), ctld_port=_free_port(), d_port=_free_port()
        )
        self._config.write_text(text, encoding="utf-8")
        lines = [f"NodeName={host} Name=gpu File={gpu} Flags=nvidia_gpu_env\n" for gpu in _GPUS]
        (folder / "gres.conf").write_text("".join(lines), encoding="utf-8")
        (folder / "cgroup.conf").write_text("CgroupPlugin=autodetect\n", encoding="utf-8")
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o400)

    @property
    def variables(self) -> dict[str, str]:
        """Environment in which Slurm's commands find this cluster."""
        return {"SLURM_CONF": str(self._config), "PATH": _path()}

    def start(self) -> None:
        """Start everything, without any jobs, and wait until some can run."""
        folder = self._folder
        self._start(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={folder}/munge.key",
            f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munge.pid",
            f"--log-file={folder}/munge.log",
            f"--seed-file={folder}/munge.seed",
        )
        self._wait_for((folder / "munge.socket").exists, "munged")
        self.start_controller("-c")
        self._start("slurmd", "-D")
        self._wait_for(lambda: self.run("sinfo", "-h", "-o", "%T").strip() == "idle", "slurmd")

    def stop(self) -> None:
        """Cancel all jobs and end all daemons."""
        self.run("scancel", "--user=root")
        deadline = time.monotonic() + 3
        while self.run("squeue", "-h").strip() and time.monotonic() < deadline:
            time.sleep(0.05)
        for name in ("slurmd", "slurmctld", "munged"):
            self.stop_daemon(name)
        # A job that ended while there was no controller has a slurmstepd that waits for one.
        kill_by_variables({"SLURM_CONF": str(self._config)})

    def start_controller(self, *options: str) -> None:
        """Start slurmctld, which finds the jobs that an earlier one left, unless told to forget."""
        self._start("slurmctld", "-D", *options)
        self._wait_for(lambda: "UP" in self.run("scontrol", "ping"), "slurmctld")

    def stop_daemon(self, name: str) -> None:
        """End one daemon."""
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.terminate()
        try:
            daemon.wait(5)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def run(self, *words: str) -> str:
        """Output of one of Slurm's commands, also if it fails."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            words,
            env=os.environ | self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout

    def logs(self) -> str:
        """Last lines of the daemons' logs."""
        shown = ""
        for file in sorted(self._folder.glob("*.log")):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            shown += f"--- {file.name}\n" + "\n".join(lines[-15:]) + "\n"
        return shown

    def _start(self, *words: str) -> None:
        with open(self._folder / f"{words[0]}.out", "ab") as out:
            self._daemons[words[0]] = subprocess.Popen(
                words,
                env=os.environ | self.variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def _wait_for(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, f"{what} does not start\n{self.logs()}"
            time.sleep(0.05)


def _path() -> str:
    """PATH with the folders of daemons, which not every shell of root has."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
