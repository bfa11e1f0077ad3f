"""pypdf: a document is written, its pages merged, turned, encrypted, searched for text and read again."""
import io

from pypdf import PageObject, PdfReader, PdfWriter, Transformation
from pypdf.generic import ArrayObject, DecodedStreamObject, DictionaryObject, FloatObject, NameObject


def page_with(writer, text):
    page = writer.add_blank_page(width=200, height=100)
    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"), NameObject("/BaseFont"): NameObject("/Helvetica")})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})})
    content = DecodedStreamObject()
    content.set_data(f"BT /F1 12 Tf 10 50 Td ({text}) Tj 0 -14 Td (line two) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(content.flate_encode())
    return page


writer = PdfWriter()
for n in range(3):
    page_with(writer, f"Page {n + 1} of the tool")
writer.add_metadata({"/Title": "Tööls", "/Author": "x"})
writer.add_outline_item(title="Second", page_number=1)
writer.pages[2].rotate(90)
file = io.BytesIO()
writer.write(file)
reader = PdfReader(file)
print(len(reader.pages), reader.metadata.title, reader.outline[0].title, reader.get_destination_page_number(reader.outline[0]))
for page in reader.pages:
    print(repr(page.extract_text()), page.mediabox.width, page.rotation)
both = PdfWriter()
sheet = PageObject.create_blank_page(width=400, height=100)
sheet.merge_page(reader.pages[0])
sheet.merge_transformed_page(reader.pages[1], Transformation().translate(tx=200))
both.add_page(sheet)
both.append(reader, pages=(2, 3))
both.pages[1].cropbox = ArrayObject(map(FloatObject, (0, 0, 50, 50)))
both.encrypt("open", algorithm="RC4-128")
locked = io.BytesIO()
both.write(locked)
reader = PdfReader(locked)
print(reader.is_encrypted, int(reader.decrypt("wrong")), int(reader.decrypt("open")), len(reader.pages), list(map(float, reader.pages[1].cropbox)))
print(reader.pages[0].extract_text().replace("\n", "|"))
try:
    PdfReader(io.BytesIO(b"no document"), strict=True)
except Exception as error:
    print(type(error).__name__, error)
