"""A Slurm cluster of this machine alone, and a Ray cluster out of the network's reach, for the time of a block."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# Python in a network namespace of its own: Ray listens on every address
APART = ("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", sys.executable)
SLURM = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=10
GresTypes=gpu
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4096 Gres=gpu:2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP GraceTime=30
PartitionName=urgent Nodes=localhost MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""


def until(true: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait for something. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lacking(programs: Sequence[str]) -> str:
    """A reason to skip, or ""."""
    missing = [program for program in programs if shutil.which(program) is None]
    return f"not installed: {', '.join(missing)}" if missing else "" if os.geteuid() == 0 else "slurmd needs root"


def apart(pid: int) -> list[int]:
    """The processes in the network namespace of this one; none where it is our own."""
    found = []
    with suppress(OSError):
        own = Path(f"/proc/{pid}/ns/net").readlink()
        if own == Path("/proc/self/ns/net").readlink():
            return []
        for each in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (each / "ns/net").readlink() == own:
                    found.append(int(each.name))
    return found


def end(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def ray() -> Iterator[tuple[str, ...]]:
    """A Ray cluster that was started with no environment of ours; Python beside it, where its address is "auto"."""
    with tempfile.TemporaryDirectory() as folder:  # not pytest's: the path of a socket has 107 bytes at most
        holder = subprocess.Popen([*APART, "-c", "import time; time.sleep(3600)"])
        try:
            until(lambda: bool(apart(holder.pid)), seconds=30, what="a network namespace")
            beside = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
            until(lambda: "LOOPBACK,UP" in _said(*beside, "ip", "link"), seconds=30, what="its loopback device")
            words = ("--head", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}")
            path = f"PATH={os.environ['PATH']}"
            _said(*beside, "env", "-i", path, str(Path(sys.executable).with_name("ray")), "start", *words)
            yield (*beside, sys.executable)
        finally:
            end(apart(holder.pid))
            holder.wait()


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


class Slurm:
    """munged, slurmctld and slurmd in a folder, with sockets, ports of the loopback device and pid files of their own."""

    def __init__(self, folder: Path, *, cpus: int = 2) -> None:
        self.folder, self.conf = folder, folder / "slurm.conf"
        for name in ("state", "spool"):
            (folder / name).mkdir(parents=True)
        ports = {"controller": free_port(), "node": free_port()}
        self.conf.write_text(CONF.format(host=socket.gethostname(), folder=folder, cpus=cpus, **ports))
        devices = "".join(f"Name=gpu File=/dev/tty{number}\n" for number in range(2))  # any two files of devices
        (folder / "gres.conf").write_text(devices)
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf)}

    def start(self, name: str) -> None:
        munge = [
            *("munged", "--force", f"--key-file={self.folder}/munge.key", f"--socket={self.folder}/munge.socket"),
            *(f"--{kind}-file={self.folder}/munged.{kind}" for kind in ("pid", "log", "seed")),
        ]
        command = {"munged": munge, "slurmctld": ["slurmctld"], "slurmd": ["slurmd", "-N", "localhost"]}[name]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):
            process = int((self.folder / f"{name}.pid").read_text())
            os.kill(process, number)
            until(lambda: not Path(f"/proc/{process}").exists(), seconds=30, what=f"the end of {name}")

    def ask(self, *words: str) -> str:
        return subprocess.run(words, env=self.environment, check=True, capture_output=True, text=True).stdout

    def idle(self) -> bool:
        found = subprocess.run(["sinfo", "-h", "-o", "%T"], env=self.environment, check=False, capture_output=True, text=True)
        return found.stdout.strip() == "idle"


@contextmanager
def slurm(folder: Path, *, cpus: int = 2) -> Iterator[Slurm]:
    cluster = Slurm(folder, cpus=cpus)
    try:
        for name in ("munged", "slurmctld", "slurmd"):
            cluster.start(name)
        until(cluster.idle, seconds=30, what="Slurm's node")
        yield cluster
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            cluster.stop(name)
