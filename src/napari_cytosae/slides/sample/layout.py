"""Where the cells lie: at random, as far apart as on a smear."""

from collections.abc import Sequence

import numpy as np

# A cell that finds no free place after so many tries is left out.
_TRIES = 300


class Layout:
    """Discs that have been laid on a field, in µm."""

    def __init__(self, height_um: float, width_um: float) -> None:
        self.size = (height_um, width_um)
        self._centres: list[tuple[float, float]] = []
        self._radii: list[float] = []
        self._groups: list[str] = []

    def place(
        self,
        rng: np.random.Generator,
        group: str,
        radius_um: float,
        closeness: dict[str, float],
        margin_um: float,
    ) -> tuple[float, float] | None:
        """Find a place for a disc.

        Parameters
        ----------
        group : str
            What it is, for those that are laid later.
        radius_um : float
            Its radius.
        closeness : dict
            For each group already laid, how near this disc may come: the least distance between
            the centres as a share of the two radii together. 1 means touching.
        margin_um : float
            Least distance of its centre from the border; below 0, it may lie beyond.

        Returns
        -------
        (float, float) or None
            Its centre (y, x); None where no place was found.
        """
        low, high = margin_um, (self.size[0] - margin_um, self.size[1] - margin_um)
        if high[0] <= low or high[1] <= low:
            return None
        needed = [
            closeness.get(group_, 0.0) * (radius + radius_um)
            for group_, radius in zip(self._groups, self._radii, strict=True)
        ]
        for y, x in rng.uniform((low, low), high, (_TRIES, 2)).tolist():
            if self._is_free((y, x), needed):
                self._centres.append((y, x))
                self._radii.append(radius_um)
                self._groups.append(group)
                return y, x
        return None

    def _is_free(self, centre: tuple[float, float], needed: Sequence[float]) -> bool:
        if not self._centres:
            return True
        apart = np.hypot(*(np.asarray(self._centres) - centre).T)
        return bool((apart >= np.asarray(needed)).all())
