"""Builds muster._muster: the extension's few files, and the static libmuster in it.

The library is that of the repository in which this file stands. Unless MUSTER_LIBRARY_DIR names the directory of a
libmuster.a, CMake builds one below the build directory. MUSTER_SOURCE_DIR names the repository if this is a copy that
stands elsewhere.
"""

import os
import re
import subprocess
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("MUSTER_SOURCE_DIR") or HERE.parent.parent)
HEADER = ROOT / "bindings" / "c" / "muster.h"
EXPORTS = HERE / "extension" / "exports.map"


def version() -> str:
    if not HEADER.exists():
        raise SystemExit(
            f"{HEADER} is missing: the package is built from its place in the muster repository, "
            "or with MUSTER_SOURCE_DIR set to one"
        )
    match = re.search(r'define MUSTER_VERSION "(.+)"', HEADER.read_text())
    assert match, f"{HEADER} says no version"
    return match[1]


class Build(build_ext):
    def build_extensions(self) -> None:
        directory = os.environ.get("MUSTER_LIBRARY_DIR")
        library = Path(directory or self.build_library()) / "libmuster.a"
        for extension in self.extensions:
            extension.extra_objects = [str(library)]
            extension.depends.append(str(library))
        super().build_extensions()

    def build_library(self) -> Path:
        directory = Path(self.build_temp).resolve() / "libmuster"
        jobs = str(os.cpu_count() or 1)
        try:
            subprocess.run(["cmake", "-S", ROOT, "-B", directory, "-DBUILD_TESTING=OFF"], check=True)
            subprocess.run(["cmake", "--build", directory, "-j", jobs, "--target", "muster_static"], check=True)
        except FileNotFoundError:
            raise SystemExit("cmake is missing: run scripts/setup build in the repository") from None
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"libmuster was not built: {error}; scripts/setup build installs what it needs") from None
        return directory / "lib"


setup(
    version=version(),
    cmdclass={"build_ext": Build},
    ext_modules=[
        Extension(
            "muster._muster",
            sources=sorted(os.path.relpath(path, HERE) for path in HERE.glob("extension/*.c")),
            depends=sorted(os.path.relpath(path, HERE) for path in HERE.glob("extension/*.[hm]*")),
            include_dirs=[str(ROOT), str(ROOT / "bindings" / "c")],
            define_macros=[("_GNU_SOURCE", None)],
            extra_compile_args=["-O2", "-std=c11", "-fvisibility=hidden", "-Wall", "-Wextra"],
            # What the library in the extension offers is for the extension alone.
            extra_link_args=[f"-Wl,--version-script={EXPORTS}", "-Wl,--as-needed"],
            libraries=["nng", "msgpackc", "mbedcrypto", "pthread", "dl", "rt", "m"],
        )
    ],
)
