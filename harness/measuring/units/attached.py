"""The adapters that units have put on the base, and that stay there for the next ones."""

from collections.abc import Mapping
from pathlib import Path

from harness.models.adapter_files.folder import AdapterError
from harness.models.adapters import attach_adapter, detach_adapters
from harness.models.base import LoadedModel


class Attached:
    """Which adapters are on the base of a process; one that is off changes nothing, as in a run that has them all."""

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}

    def put_on(self, loaded: LoadedModel, folders: Mapping[str, Path]) -> None:
        """Attaches those that are not there.

        Args:
            loaded: The base, with what earlier calls put on it.
            folders: Subject -> folder of its adapter.

        Raises:
            AdapterError: One does not belong to the base, or two of these cannot be on it together.
        """
        if any(folder != self._folders.get(name, folder) for name, folder in folders.items()):
            self.take_off(loaded)
        try:
            for name, folder in folders.items():
                if name not in self._folders:
                    self._folders[name] = folder  # before, so that what fails halfway is taken off too
                    attach_adapter(loaded, name, str(folder))
        except BaseException as error:
            is_alone = self._folders.keys() <= folders.keys()
            self.take_off(loaded)
            if is_alone or not isinstance(error, AdapterError):
                raise
            self.put_on(loaded, folders)  # one of another unit may be what it clashed with

    def take_off(self, loaded: LoadedModel) -> None:
        """Leaves the base as it was before."""
        if self._folders:
            detach_adapters(loaded)
            self._folders.clear()
