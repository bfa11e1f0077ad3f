"""openpyxl: a workbook with formulas, styles, a table and a chart is written, and read again."""
import io
import zipfile
from datetime import date

from openpyxl import Workbook, load_workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter, range_boundaries
from openpyxl.worksheet.table import Table

book = Workbook()
sheet = book.active
sheet.title = "Sizes & more"
sheet.append(["tool", "size", "since"])
for row in (("awk", 12.5, date(1977, 1, 1)), ("sed", 7, date(1974, 6, 30)), ("größe", -3, None)):
    sheet.append(row)
sheet["B6"] = "=SUM(B2:B4)"
sheet["A1"].font = Font(bold=True, color="FF0000")
sheet["A1"].fill = PatternFill("solid", fgColor="FFFF00")
sheet["B2"].number_format = "0.00"
sheet.merge_cells("D1:E2")
sheet["D1"].alignment = Alignment(wrap_text=True)
sheet.add_table(Table(displayName="Tools", ref="A1:C4"))
sheet.freeze_panes = "A2"
chart = BarChart()
chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=4), titles_from_data=True)
sheet.add_chart(chart, "G2")
book.create_sheet("Empty", 0).sheet_state = "hidden"
file = io.BytesIO()
book.save(file)

print(sorted(name for name in zipfile.ZipFile(file).namelist() if "sheet" in name or "chart" in name or "table" in name))
again = load_workbook(file)
print(again.sheetnames, [s.sheet_state for s in again], again["Sizes & more"].dimensions)
sheet = again["Sizes & more"]
for row in sheet.iter_rows(min_row=1, max_row=6, max_col=3, values_only=True):
    print(row)
print(sheet["A1"].font.b, sheet["A1"].font.color.rgb, sheet["A1"].fill.fgColor.rgb, sheet["B2"].number_format, sheet["D1"].alignment.wrap_text)
print(list(map(str, sheet.merged_cells.ranges)), list(sheet.tables), sheet.freeze_panes, sheet["C2"].is_date, sheet["B6"].data_type)
print(get_column_letter(703), range_boundaries("B2:AA10"))
rows = load_workbook(file, read_only=True)["Sizes & more"].iter_rows(min_row=2, max_row=4, max_col=2, values_only=True)
print(sum(size for _, size in rows))
