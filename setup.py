"""How the package is built and installed. Everything else that has settings has them in a dotfile."""

from pathlib import Path

from setuptools import find_packages, setup

ADMIN = ["croniter>=3", "jinja2>=3.1", "mslex>=1", "tree-sitter>=0.23", "tree-sitter-bash>=0.23"]

setup(
    name="planta-headless",
    version="39.0",
    description="A batch-job client for PLANTA project servers, and a server to rehearse with",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    keywords=["PLANTA", "planta_headless", "headless client", "batch jobs", "cron", "task scheduler", "job server"],
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Operating System :: Microsoft :: Windows",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Systems Administration",
        "Typing :: Typed",
    ],
    python_requires=">=3.9",
    packages=find_packages(include=["headless", "headless.*"]),
    package_data={
        "headless": ["py.typed", "README.md"],
        "headless.client": ["COMMAND.md"],
        "headless.admin": ["MOVING.md", "NIGHT.md", "night.html"],
        "headless.dialects": ["PLANTA.md", "PORTING.md"],
        "headless.dialects.own": ["PROTOCOL.md", "protocol.xsd"],
        "headless.server": ["SERVER.md"],
    },
    scripts=["planta_headless.py"],
    # On Windows these are planta_headless.exe and headless.exe.
    entry_points={"console_scripts": ["planta_headless = headless.cli:run", "headless = headless.cli:run_tools"]},
    install_requires=["bcrypt>=3.2", "lxml>=4.9"],  # what Debian 12 has
    extras_require={
        "admin": ADMIN,
        "test": [
            "pytest>=8",
            "pytest-timeout>=2",
            "pytest-xdist>=3",
            "hypothesis>=6",
            "trustme>=1",
            "coverage>=7.10",
            *ADMIN,
        ],
        "lint": ["mypy>=1.11", "ruff>=0.6", "lxml-stubs>=0.5", "types-croniter>=3"],
    },
)
