"""Run a command that needs Qt and a screen, providing what the machine lacks where it may.

``python scripts/with_display.py COMMAND …`` checks that Qt's system libraries load and that a
display can be opened; on Debian or Ubuntu as root it installs what is missing with apt-get, and
starts a virtual screen (Xvfb) where there is none. Elsewhere it says in one line what to install.
``--libraries-only`` leaves the display alone: the command copes without one.
"""

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Libraries that Qt's xcb platform plug-in and VisPy load, and the Debian packages that bring them.
LIBRARIES = {
    "libglib-2.0.so.0": "libglib2.0-0",
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libfontconfig.so.1": "libfontconfig1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
}
SCREEN_PACKAGES = ["xvfb", "xauth"]


def loads(library: str) -> bool:
    """Tell whether the dynamic loader finds a library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def missing_packages(want_screen: bool) -> list[str]:
    """Debian packages that are needed and not there (empty on other systems than Linux)."""
    if not sys.platform.startswith("linux"):
        return []
    packages = [package for library, package in LIBRARIES.items() if not loads(library)]
    if want_screen and not has_display() and shutil.which("xvfb-run") is None:
        packages += SCREEN_PACKAGES
    return packages


def has_display() -> bool:
    """Tell whether windows can be opened as things stand."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def install(packages: list[str]) -> bool:
    """Install Debian packages where this user may; tell whether that was done."""
    may = shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0
    if not may or not Path("/etc/debian_version").exists():
        return False
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    print("installing", *packages, file=sys.stderr)
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            return False
    return True


def main() -> int:
    """Provide the libraries and the screen, then run the command and pass on its exit status."""
    arguments = sys.argv[1:]
    want_screen = arguments[:1] != ["--libraries-only"]
    command = arguments if want_screen else arguments[1:]
    packages = missing_packages(want_screen)
    if packages and not install(packages):
        print(
            f"Qt needs system packages: sudo apt-get install {' '.join(packages)}", file=sys.stderr
        )
        if want_screen:
            return 1
    if want_screen and not has_display():
        os.environ["QT_QPA_PLATFORM"] = "xcb"
        command = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24", *command]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
