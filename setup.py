"""How the package is built and installed. Everything else that has settings has them in a dotfile."""

from setuptools import find_packages, setup

setup(
    name="planta-headless",
    version="39.0",
    description="A batch-job client for PLANTA project servers, and a server to rehearse with",
    license="MIT",
    python_requires=">=3.9",
    packages=find_packages(include=["headless", "headless.*"]),
    package_data={"headless": ["py.typed"], "headless.protocol": ["PROTOCOL.md", "protocol.xsd"]},
    scripts=["planta_headless.py"],
    install_requires=["bcrypt>=4", "lxml>=5"],
    extras_require={
        "test": ["pytest>=8", "pytest-timeout>=2", "pytest-xdist>=3", "hypothesis>=6", "trustme>=1"],
        "lint": ["mypy>=1.11", "ruff>=0.6", "lxml-stubs>=0.5"],
    },
)
