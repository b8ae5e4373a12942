"""Study <-> HDF5: the one file that training and evaluation read.

Layout, schema version 1 (attributes in brackets; lengths in mm; drawn in docs/store.md)::

    / [format = "apical store", schema_version, content_sha256, apical_version]
      patients/
        patient0001/ [sex, age_years, height_cm, weight_kg, published_ef_percent, renumbered, notes, camus_fold, split]
          4CH/ [image_quality]
            ED/ [name, spacing_mm (row, column), origin_mm, direction]
              image  uint8 (row, column), native size
              mask   uint8 (row, column), labels 0-3

What is not known is absent. A store is put together from one finished part per patient, so that a
kill at any moment leaves the old store or the new one, and the next run goes on where it was.
"""

from apical.store.prepare import prepare_store
from apical.store.reading import Store
from apical.store.writing import StoreWriter

__all__ = ["Store", "StoreWriter", "prepare_store"]
