import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from napari_cytosae.export import (
    cell_table,
    concept_table,
    export_run,
    strongest_on_cell,
    write_table,
)


def test_every_cell_is_a_row_with_its_strongest_concepts(run):
    table = cell_table(run, n_concepts=3)
    assert_array_equal(table["label"], run.table["label"])
    for _, row in table.iterrows():
        for place, ranked in enumerate(strongest_on_cell(run, row["label"], 3), start=1):
            concept = ranked.concept
            assert row[f"concept_{place}"] == concept.concept_id
            assert row[f"concept_{place}_activation_on_cell"] == ranked.on_cell
            assert row[f"concept_{place}_activation"] == concept.activation
            assert row[f"concept_{place}_patches_percent"] == 100 * concept.patch_share


def test_lengths_are_given_in_pixels_and_where_known_in_micrometres(run, smear):
    table = cell_table(run)
    assert_allclose(table["centroid_y_um"], table["centroid_y_px"] * smear.microns_per_pixel)
    assert_allclose(table["area_um2"], table["area_px"] * smear.microns_per_pixel**2)


def test_without_a_pixel_size_there_are_no_micrometres(empty_run):
    assert not [column for column in cell_table(empty_run) if "_um" in column]


def test_concepts_are_counted_over_the_cells_of_the_run(run):
    table = concept_table(run).set_index("concept_id")
    profiles = run.adata.X.toarray()
    assert_array_equal(np.sort(table.index), np.flatnonzero(profiles.any(axis=0)))
    for concept_id, row in table.iterrows():
        column = profiles[:, concept_id]
        assert row["cells"] == np.count_nonzero(column)
        assert row["frequency_percent"] == pytest.approx(100 * np.mean(column > 0))
        assert row["mean_activation"] == pytest.approx(column[column > 0].mean(), rel=1e-5)
        assert row["max_activation"] == run.adata.layers["max"][:, [concept_id]].toarray().max()
        assert row["best_cell"] == run.table["label"][column.argmax()]
        assert row["best_cell_activation"] == column.max()
    assert table["cells"].is_monotonic_decreasing


def test_tables_read_back_as_they_were(run, tmp_path):
    for table in (cell_table(run), concept_table(run)):
        write_table(table, tmp_path / "table.csv")
        back = pd.read_csv(tmp_path / "table.csv", dtype={"name": str})
        assert list(back) == list(table)
        numbers = table.select_dtypes("number").astype(float)
        assert_allclose(back[numbers.columns].astype(float), numbers, rtol=1e-5)


def test_a_run_without_cells_has_tables_without_rows(empty_run):
    files = export_run(empty_run, pictures=False)
    assert [len(pd.read_csv(file)) for file in files] == [0, 0]


def test_a_table_that_cannot_be_finished_leaves_the_old_one(run, tmp_path, monkeypatch):
    path = tmp_path / "cells.csv"
    write_table(cell_table(run), path)
    before = path.read_bytes()

    def break_off(table, file, **options):
        file.write_text("label,cen")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", break_off)
    with pytest.raises(Exception, match="full"):
        write_table(cell_table(run), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
