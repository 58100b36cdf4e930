"""What extractions have in common: how they are asked for, and what two of them share."""

import numpy as np

from napari_cytosae.cohorts.extraction import ExtractionSettings


def settings_for(bundle_files, **changes):
    options = {"bundle": bundle_files, "cells": "whole", "precision": "float32", "device": "cpu"}
    return ExtractionSettings(**(options | changes))


def assert_same_bits(first, second):
    for name in ("counts", "cells", "active", "means", "maxima"):
        np.testing.assert_array_equal(
            getattr(first, name).toarray(), getattr(second, name).toarray()
        )
    for mine, theirs in zip(first.top, second.top, strict=True):
        for name in ("concept_ids", "values", "images", "labels"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
