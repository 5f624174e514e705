"""Build script of kvpaxos."""

from pathlib import Path
from runpy import run_path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

setup(
    name="kvpaxos",
    version=run_path(str(ROOT / "kvpaxos" / "version.py"))["VERSION"],
    description="A Paxos-replicated key-value store on Twisted",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    # The explicit root keeps editable installs on a plain .pth entry, so that
    # twisted.plugins, which walks sys.path, finds our plugin.
    package_dir={"": "."},
    packages=[*find_packages(include=["kvpaxos", "kvpaxos.*"]), "twisted.plugins"],
    package_data={"kvpaxos": ["py.typed"]},
    install_requires=[
        "click>=8.2",
        "google-crc32c>=1.7",
        "greenlet>=3.1",
        "httptools>=0.7",
        "hyperlink>=21.0",
        "klein>=24.8",
        "msgpack>=1.1",
        "rich>=13.9",
        "rocksdict>=0.3.29",
        "sortedcontainers>=2.4",
        "treq>=25.5",
        "twisted>=25.5",
        "typing_extensions>=4.13",
        "werkzeug>=3.1",
        "zstandard>=0.23",
        "zope.interface>=7.2",
    ],
    extras_require={
        # Linters and type checkers stay on one minor version: each new one finds something else.
        "dev": [
            "hypothesis>=6.130",
            "import-linter>=2.16",
            "jsonschema-rs>=0.60",
            "msgpack-types>=0.8",
            "mypy>=2.4,<2.5",
            "mypy-zope>=1.0.17",
            "pytest>=9",
            "pytest-timeout>=2.4",
            "pytest-twisted>=1.14.3",
            "pytest-xdist>=3.8",
            "ruff>=0.17.6,<0.18",
            "schemathesis>=4.32,<5",
            "towncrier>=25.8",
            "types-greenlet>=3.1",
            "types-setuptools>=80",
        ],
    },
    entry_points={"console_scripts": ["kvpaxos = kvpaxos.cli.main:main"]},
)
