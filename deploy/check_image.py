"""Runs the container recipe without a registry: its steps in a Debian root, then the gateway in it.

    python deploy/check_image.py [gateway|full]

For `FROM python:…` it has a Debian with Python by mmdebstrap; each other instruction is carried out as Docker would.
The gateway then runs as the recipe's user, with a read-only root and a network of its own, and its health check must
succeed. It needs root and mmdebstrap (Debian: apt install mmdebstrap).
"""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_REPOSITORY: Final = Path(__file__).resolve().parents[1]
_RECIPE: Final = _REPOSITORY / "deploy" / "Dockerfile"
_PACKAGES: Final = "binutils,python3,python3-pip,python3-venv,ca-certificates"
_CONFIG: Final = '[[venue]]\nname = "v"\nurl = "http://127.0.0.1:1/v1"\nmodels = ["m"]\n'

# In namespaces of its own: root read-only, what may be written in memory, no network but loopback. The image's command
# runs beside its health check, and both as its user.
_RUN: Final = """
mount --bind "$ROOT" "$ROOT" && mount -o remount,bind,ro "$ROOT"
mount -t tmpfs -o "uid=${OWNER%:*},gid=${OWNER#*:}" tmpfs "$ROOT$DATA"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
mount -t proc proc "$ROOT/proc"
ip link set lo up
inside() { chroot --userspec="$OWNER" "$ROOT" env -i $SETTINGS sh -c 'cd "$0" && exec "$@"' "$DATA" "$@"; }
inside touch /opt/meritorder/written 2>/dev/null && { echo "the root can be written"; exit 1; }
inside sh -c 'echo "runs as $(id -u):$(id -g)"'
inside "$@" &
for second in $(seq 60); do
  eval "inside $HEALTH" 2>/dev/null && { echo "healthy after $second s"; kill -TERM $!; wait $!; exit 0; }
  sleep 1
done
echo "not healthy after 60 s"; exit 1
"""


@dataclass
class Stage:
    """A stage of the recipe: its root, and what was set in it."""

    root: Path
    user: str = "0:0"
    folder: str = "/"
    settings: dict[str, str] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)

    def run(self, command: str, wheels: Path) -> None:
        """Run a shell command in the root; pip installs from a folder of wheels."""
        inside = self.root / "wheels"
        inside.mkdir(exist_ok=True)
        line = f'mount --bind "{wheels}" "{inside}" && mount -t proc proc "{self.root}/proc" && exec "$@"'
        variables = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} | self.settings
        variables |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "PIP_ROOT_USER_ACTION": "ignore"}
        settings = [f"{name}={value}" for name, value in variables.items()]
        chroot = ["chroot", str(self.root), "env", "-i", *settings, "sh", "-ec", f"cd {self.folder} && {command}"]
        subprocess.run(["unshare", "--mount", "sh", "-c", line, "sh", *chroot], check=True)
        inside.rmdir()


def instructions(recipe: str) -> list[tuple[str, str]]:
    """Return the instructions of a recipe with their arguments."""
    lines = [line for line in recipe.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def build(recipe: str, target: str, folder: Path, wheels: Path) -> Stage:
    """Carry out the stages that a target needs; return its stage."""
    stages: dict[str, Stage] = {}
    wanted = needed(recipe, target)
    stage, skipped = Stage(folder), False
    for name, rest in instructions(recipe):
        if name == "FROM":
            base, _, stage_name = rest.split()
            skipped = stage_name not in wanted
            if not skipped:
                print(f"stage {stage_name}", flush=True)
                stage = new_stage(folder / stage_name, stages.get(base))
                stages[stage_name] = stage
        elif not skipped:
            carry_out(name, rest, stage, stages, wheels)
    return stages[target]


def needed(recipe: str, target: str) -> set[str]:
    """Return the stages that a target rests on, and itself."""
    rests_on: dict[str, set[str]] = {}
    stage_name = ""
    for name, rest in instructions(recipe):
        if name == "FROM":
            base, _, stage_name = rest.split()
            rests_on[stage_name] = {base}
        elif name == "COPY" and rest.startswith("--from="):
            rests_on[stage_name].add(rest.split()[0].removeprefix("--from="))
    found, unread = set[str](), {target}
    while unread:
        stage_name = unread.pop()
        found.add(stage_name)
        unread |= (rests_on.get(stage_name, set()) & rests_on.keys()) - found
    return found


def new_stage(root: Path, base: Stage | None) -> Stage:
    """Return a copy of a stage, or a new Debian with Python."""
    if base is None:
        suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", suite, str(root)], check=True
        )
        return Stage(root)
    subprocess.run(["cp", "--archive", "--reflink=auto", str(base.root), str(root)], check=True)
    return Stage(root, base.user, base.folder, dict(base.settings), dict(base.commands))


def carry_out(name: str, rest: str, stage: Stage, stages: dict[str, Stage], wheels: Path) -> None:
    """Carry out one instruction in a stage."""
    if name == "RUN":
        stage.run(rest, wheels)
    elif name == "COPY":
        *sources, to = rest.split()
        root = _REPOSITORY
        if sources[0].startswith("--from="):
            root = stages[sources.pop(0).removeprefix("--from=")].root
        for source in sources:
            target = stage.root / str(Path(stage.folder, to)).lstrip("/")
            copy(root / source.lstrip("/"), target, is_into=to.endswith("/"))
    elif name == "WORKDIR":
        stage.folder = rest
        (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif name == "ENV":
        stage.settings |= dict(part.split("=", 1) for part in shlex.split(rest))
    elif name == "USER":
        stage.user = rest
    elif name in {"HEALTHCHECK", "ENTRYPOINT", "CMD"}:
        stage.commands[name] = json.loads(rest[rest.index("[") :])
    elif name != "EXPOSE":
        sys.exit(f"{_RECIPE}: {name} is not known here")


def copy(source: Path, target: Path, *, is_into: bool) -> None:
    """Copy a file or folder as COPY does."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target / source.name if is_into else target)


def collect_wheels(folder: Path, version: str) -> None:
    """Collect the wheels of everything that the recipe installs, for the Python of the root."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(_REPOSITORY)], check=True)
    (wheel,) = folder.glob("meritorder-*.whl")
    options = ["--quiet", "--only-binary", ":all:", "--python-version", version, "--dest", str(folder)]
    subprocess.run([*pip, "download", *options, f"{wheel}[all,telemetry]", "hatchling>=1.27,<2"], check=True)


def main() -> None:
    """Build a target and run it."""
    target = sys.argv[1] if len(sys.argv) > 1 else "gateway"
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        sys.exit("image-check needs root and mmdebstrap (Debian: apt install mmdebstrap)")
    recipe = _RECIPE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="meritorder-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        wheels = folder / "wheels"
        wheels.mkdir()
        version = platform.python_version()  # of this Debian, as of the root
        collect_wheels(wheels, ".".join(version.split(".")[:2]))
        stage = build(recipe, target, folder, wheels)
        config = stage.root / "etc" / "meritorder" / "gateway.toml"
        config.parent.mkdir()
        config.write_text(_CONFIG, encoding="utf-8")
        environment: dict[str, Any] = {
            "PATH": os.environ["PATH"],
            "ROOT": str(stage.root),
            "OWNER": stage.user,
            "DATA": stage.folder,
            "SETTINGS": " ".join(f"{key}={value}" for key, value in stage.settings.items()),
            "HEALTH": shlex.join(stage.commands["HEALTHCHECK"]),
        }
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", _RUN, "sh"]
        subprocess.run([*command, *stage.commands["ENTRYPOINT"], *stage.commands["CMD"]], env=environment, check=True)
        size = sum(path.lstat().st_size for path in (stage.root / "opt" / "meritorder").rglob("*") if path.is_file())
        print(f"{target}: {size / 1e6:.0f} MB of packages")


if __name__ == "__main__":
    main()
