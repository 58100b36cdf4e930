"""The folder of a training: recipe, checkpoint, log, and in the end the autoencoder."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from napari_cytosae.concepts.durable import (
    explain_write_error,
    only_process,
    write_durably,
    write_json_durably,
)
from napari_cytosae.errors import TrainingError
from napari_cytosae.models import load_sae
from napari_cytosae.models.sae_files import OURS
from napari_cytosae.training import checkpoint
from napari_cytosae.training.config import SaeTrainingConfig
from napari_cytosae.training.state import TrainingState
from napari_cytosae.training.trained import Record, TrainedSae

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

ABOUT: Final = "training.json"
LOG: Final = "log.jsonl"
_TENSORBOARD: Final = "tensorboard"
_FORMAT: Final = "cytosae-training"
_VERSION: Final = 1


class TrainingFolder:
    """A folder that one training writes to, held by one process while it does.

    Parameters
    ----------
    path
        Made where it does not exist.
    tensorboard
        Whether to write TensorBoard's events too.
    """

    def __init__(self, path: str | Path, tensorboard: bool = False) -> None:
        self.path = Path(path)
        self._tensorboard = tensorboard
        self._stack = ExitStack()
        self._write_line: Callable[[str], object] | None = None
        self._flush: Callable[[], None] = lambda: None
        self._board: SummaryWriter | None = None

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint lies."""
        return self.path / checkpoint.NAME

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_write_error(error, self.path) from error
        self._stack.enter_context(only_process(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def claim(
        self,
        config: SaeTrainingConfig,
        block: int,
        identity: str,
        resume: bool,
        store: Path | None = None,
    ) -> None:
        """Make the folder this training's.

        Parameters
        ----------
        config, block, identity
            What is trained, and on what.
        resume
            Whether to go on with a training that is there.
        store
            Where the tokens lie, for whoever looks for them later.

        Raises
        ------
        TrainingError
            It holds a training, and `resume` does not say to go on with it; or one by another
            recipe, on other tokens, or of more steps.
        """
        path = self.path / ABOUT
        if path.exists():
            if not resume:
                raise TrainingError(
                    f"{self.path} holds a training already. Go on with it (resume=True, or "
                    "--resume), or choose another folder."
                )
            then, content = read_about(self.path)
            checkpoint.check_same_recipe(self.path, then, config)
            if (content.get("tokens"), content.get("block")) != (identity, block):
                raise TrainingError(
                    f"{self.path} holds a training on other tokens: images, backbone, block or "
                    "preprocessing have changed. Choose another folder."
                )
            log = _read_log(self.path / LOG)
            if log and log[-1]["step"] > config.steps:
                raise TrainingError(
                    f"{self.path} has gone {log[-1]['step']:,} steps already, and {config.steps:,} "
                    "are asked for. Ask for as many, or more, or choose another folder."
                )
        write_json_durably(
            path,
            {
                "format": _FORMAT,
                "version": _VERSION,
                "block": block,
                "tokens": identity,
                "store": None if store is None else str(store.resolve()),
                "config": config.to_json(),
            },
        )

    def begin_log(self, step: int) -> list[Record]:
        """Cut the log back to a step, open it, and give what it holds."""
        kept = [record for record in _read_log(self.path / LOG) if record["step"] <= step]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        path = self.path / LOG
        write_durably(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        file = self._stack.enter_context(path.open("a", encoding="utf-8"))
        self._write_line, self._flush = file.write, file.flush
        if self._tensorboard:
            self._board = _board(self.path / _TENSORBOARD, step)
            self._stack.callback(self._board.close)
        return kept

    def log(self, record: Record) -> None:
        """Add a step to the log.

        Raises
        ------
        RunError
            The disk is full.
        """
        assert self._write_line is not None
        try:
            self._write_line(json.dumps(record) + "\n")
        except OSError as error:
            raise explain_write_error(error, self.path / LOG) from error
        if self._board is not None:
            step = int(record["step"])
            for name, value in record.items():
                if name != "step":
                    self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write what has been logged.

        Raises
        ------
        RunError
            The disk is full.
        """
        try:
            self._flush()
        except OSError as error:
            raise explain_write_error(error, self.path / LOG) from error

    def save(self, state: TrainingState, config: SaeTrainingConfig, identity: str) -> None:
        """Write a checkpoint, after what has been logged up to it."""
        self.flush()
        checkpoint.save_checkpoint(self.checkpoint, state, config, identity)


def open_training(folder: str | Path) -> TrainedSae:
    """Read a finished training.

    Parameters
    ----------
    folder
        What was given as `out` to `train_sae`.

    Raises
    ------
    TrainingError
        It is none, or is not finished.
    """
    folder = Path(folder)
    config, content = read_about(folder)
    if not (folder / OURS[0]).is_file():
        raise TrainingError(
            f"The training in {folder} is not finished; go on with it (resume=True, or --resume)."
        )
    sae = load_sae(folder / OURS[0], content.get("block"))
    return TrainedSae(sae, config, tuple(_read_log(folder / LOG)))


def read_about(folder: Path) -> tuple[SaeTrainingConfig, dict[str, Any]]:
    """Read what a folder's training is.

    Raises
    ------
    TrainingError
        It holds none that this version reads.
    """
    path = folder / ABOUT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(f"{folder} holds no training: there is no {ABOUT}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path} cannot be read: {error}.") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise TrainingError(f"{path} does not describe a training.")
    if content.get("version") != _VERSION:
        raise TrainingError(
            f"{path} is of version {content.get('version')!r}, this software reads {_VERSION}. "
            "Update napari-cytosae."
        )
    return SaeTrainingConfig.from_json(content.get("config"), str(path)), content


def _read_log(path: Path) -> list[Record]:
    """Read the whole lines of a log whose steps rise; damaged ones are left out."""
    found: list[Record] = []
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        step = record.get("step") if isinstance(record, dict) else None
        if type(step) is int and step > (found[-1]["step"] if found else 0):
            found.append(record)
    return found


def _board(path: Path, step: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            "TensorBoard is not installed. Install it with: pip install "
            "'napari-cytosae[tensorboard]'"
        ) from error
    return SummaryWriter(str(path), purge_step=step + 1)  # type: ignore[no-untyped-call, unused-ignore]
