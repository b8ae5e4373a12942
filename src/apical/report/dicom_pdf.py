"""A PDF report as a DICOM Encapsulated PDF, so that an archive keeps it with the images."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset

from apical.errors import OutputError
from apical.report.dicom_object import ObjectKind, code_item, new_object, read_header, reference_item, save

_KIND = ObjectKind("1.2.840.10008.5.1.4.1.1.104.1", "DOC", 9003, "apical: report")


def write_dicom_pdf(
    path: Path | str,
    pdf: bytes,
    sources: Sequence[Path | str | Dataset],
    *,
    title: str = "Echocardiography: left ventricle in apical views",
    created: datetime | None = None,
    overwrite: bool = False,
) -> None:
    """Write a PDF into the study of the images that it reports on.

    Parameters
    ----------
    pdf
        The document's bytes.
    sources
        DICOM files, or their headers, of one study; at least one.
    created
        Date and time of the content; by default the first source's, so that the same input gives the same file.

    Raises
    ------
    InputError
        A source cannot be referred to.
    OutputError
        `pdf` is no PDF, no source was given or they are of several studies, a file exists already, or the
        folder cannot be written to.
    """
    if not pdf.startswith(b"%PDF-"):
        raise OutputError(f"{path}: what was given is no PDF; make the report with `apical report` first")
    headers = [read_header(s) if isinstance(s, str | Path) else s for s in sources]
    if len({h.StudyInstanceUID for h in headers}) != 1:
        raise OutputError(f"{path}: a report belongs to one study; give one or more images of one")
    made = new_object(headers[0], _KIND, pdf, created)
    made.ConversionType = "WSD"
    # The page may show names and pictures: no viewer should take it for free of identity.
    made.BurnedInAnnotation = "YES"
    made.AcquisitionDateTime = ""
    made.DocumentTitle = title
    made.ConceptNameCodeSequence = [code_item("42148-7", "LN", "Echocardiography Report")]
    made.SourceInstanceSequence = [reference_item(header) for header in headers]
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = pdf + bytes(len(pdf) % 2)
    made.EncapsulatedDocumentLength = len(pdf)
    save(path, made, overwrite=overwrite)
