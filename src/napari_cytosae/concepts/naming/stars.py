"""Concepts that a person marked, to come back to: one small file per SAE, beside the names."""

import json
from pathlib import Path

from napari_cytosae.concepts.durable import write_json_durably
from napari_cytosae.concepts.naming.places import names_folder
from napari_cytosae.errors import NamesError, RunError

_VERSION = 1


class Stars:
    """The marked concepts of one SAE; every change is saved at once.

    Parameters
    ----------
    sae_digest
        Digest of the SAE.
    folder
        Where the file lies; the folder of names without it.
    """

    def __init__(self, sae_digest: str, folder: Path | None = None) -> None:
        self.path = (folder or names_folder()) / f"{sae_digest[:16]}.stars.json"
        self._ids: set[int] = set()
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            self._ids = {int(concept_id) for concept_id in content["concepts"]}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise NamesError(
                f"{self.path} cannot be read ({error}). Delete it to begin with no stars."
            ) from error

    def __contains__(self, concept_id: object) -> bool:
        return concept_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> list[int]:
        """Ids of the marked concepts, ascending."""
        return sorted(self._ids)

    def toggle(self, concept_id: int) -> bool:
        """Mark a concept, or take its mark away; tell whether it is marked now.

        Raises
        ------
        NamesError
            Where it cannot be saved; nothing has changed then.
        """
        ids = self._ids ^ {concept_id}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json_durably(self.path, {"version": _VERSION, "concepts": sorted(ids)})
        except (OSError, RunError) as error:
            raise NamesError(f"{self.path} cannot be written ({error}).") from error
        self._ids = ids
        return concept_id in ids
