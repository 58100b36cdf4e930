"""What a widget listens to, so that it can stop listening before Qt takes it away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Subscriptions:
    """Connections to signals that outlive a widget: the session's (psygnal) and napari's.

    Qt cuts its own signals when it deletes a widget; these would go on calling what is left of it.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., Any]]] = []

    def connect(self, signal: Any, slot: Callable[..., Any]) -> None:
        """Connect a slot until `end`."""
        signal.connect(slot)
        self._made.append((signal, slot))

    def end(self) -> None:
        """Cut all connections."""
        for signal, slot in self._made:
            signal.disconnect(slot)
        self._made.clear()
