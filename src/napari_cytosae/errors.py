"""Errors that a user can act on; each message says what happened and what to do."""


class CytoSAEError(Exception):
    """Base of every error that this package raises on purpose."""


class ImageError(CytoSAEError):
    """An image cannot be read, or is not one that the analysis can use."""


class ChannelsError(ImageError):
    """An image has other channels than red, green and blue; some have to be chosen.

    Attributes
    ----------
    channels : int
        How many it has.
    """

    def __init__(self, message: str, channels: int) -> None:
        super().__init__(message)
        self.channels = channels


class DamagedImageError(ImageError):
    """Some of an image's pixels cannot be decoded; the rest can be read around them."""


class UnreachableImageError(ImageError):
    """An image that was open can no longer be read: its file, disk or network drive is gone."""


class CellsError(CytoSAEError):
    """Cells cannot be found or read."""


class CheckpointError(CytoSAEError):
    """A model file is damaged, incomplete or of another architecture."""


class UnsafeCheckpointError(CheckpointError):
    """A model file would run code when opened, and was refused."""


class FocusError(CytoSAEError):
    """A list of concepts to focus on is empty, unreadable, or meant for another bundle."""


class DownloadError(CytoSAEError):
    """A model could not be fetched or its content is not what it should be."""


class RunError(CytoSAEError):
    """A run folder is missing, damaged, or belongs to other inputs."""


class OtherRunError(RunError):
    """The folder holds an intact run of other inputs, which must not be lost."""


class NamesError(CytoSAEError):
    """Names of concepts cannot be read, saved or merged."""


class UnsavedNamesError(NamesError):
    """Names were changed, but the file could not be written: they are in memory only."""


class ReviewError(CytoSAEError):
    """A review session is missing, damaged, or an answer does not fit it."""


class TrainingError(CytoSAEError):
    """A training cannot be started or gone on with: its settings, tokens or checkpoint do not fit."""


class AtlasError(CytoSAEError):
    """An atlas cannot be built, read or merged."""


class CohortError(CytoSAEError):
    """A cohort, its barcodes or a model of them cannot be read, or cannot answer the question."""


class Cancelled(CytoSAEError):
    """The user stopped the work; what had been finished is kept."""
