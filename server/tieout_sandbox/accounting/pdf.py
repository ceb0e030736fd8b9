"""A document as a PDF: one page that says which document it is."""

_FIRST_OBJECTS = (
    b"<< /Type /Catalog /Pages 2 0 R >>",
    b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
)
_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"


def pdf_of(title: str) -> bytes:
    """A valid A4 PDF with the title on it; what Windows-1252 cannot write becomes a question mark."""
    text = title.encode("cp1252", errors="replace")
    for special in (b"\\", b"(", b")"):
        text = text.replace(special, b"\\" + special)
    content = b"BT /F1 18 Tf 72 760 Td (" + text + b") Tj ET"
    stream = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content)
    return _assembled((*_FIRST_OBJECTS, stream, _FONT))


def _assembled(objects: tuple[bytes, ...]) -> bytes:
    """The objects with the table that says where each begins."""
    written, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n" % count
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, len(written))
    return written + head + table + trailer
