"""Copies the compiled components and pipelines into the wheel; all else is in setup.cfg."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithCompiled(build_py):
    """Adds `components/*/component.yaml` and `pipelines/*/pipeline.yaml` to the package."""

    def run(self) -> None:
        """Build the package, then copy the YAMLs beside it."""
        super().run()
        for kind, file in (("components", "component.yaml"), ("pipelines", "pipeline.yaml")):
            for source in sorted((ROOT / kind).glob(f"*/{file}")):
                target = Path(self.build_lib, "cellmill", "compiled", kind, source.parent.name)
                self.mkpath(str(target))
                self.copy_file(str(source), str(target / file))


setup(cmdclass={"build_py": BuildWithCompiled})
