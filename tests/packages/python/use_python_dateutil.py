"""python-dateutil: dates parsed from all sorts of text, relative ones, recurrences, Easter and zones."""
from datetime import datetime, timedelta

from dateutil import easter, parser, relativedelta, rrule, tz, utils

DEFAULT = datetime(2024, 2, 29, 12, 0)
for text in ("2003-09-25T10:49:41.5-03:00", "Thu Sep 25 10:36:28 2003", "25/9/2003", "10h36m28.5s", "Sept. 3rd, 1995 5pm", "20030925T104941", "3 Feb 99", "Wednesday"):
    print(text, "->", parser.parse(text, default=DEFAULT).isoformat())
print(parser.parse("01/02/03", dayfirst=True).date(), parser.parse("01/02/03", yearfirst=True).date(), parser.parse("today is 5 May 2001, ok", fuzzy_with_tokens=True))
print(parser.isoparse("2020-W10-3T24:00").isoformat(), parser.isoparse("2020-366").date())
delta = relativedelta.relativedelta
print(DEFAULT + delta(years=1), DEFAULT + delta(months=-1, day=31), DEFAULT + delta(weekday=relativedelta.FR(-1)), delta(datetime(2024, 3, 1), datetime(2020, 12, 31)))
print(delta(hours=25, minutes=-61).normalized(), (delta(months=5) * 3).years, bool(delta()))
print([d.date().isoformat() for d in rrule.rrule(rrule.MONTHLY, count=4, byweekday=rrule.FR(-1), dtstart=DEFAULT)])
rules = rrule.rrulestr("DTSTART:20240101T090000\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE;UNTIL=20240301T000000\nEXDATE:20240117T090000")
print([d.strftime("%m-%d") for d in rules], rules.after(DEFAULT - timedelta(days=20)), rules.count())
print([easter.easter(y).isoformat() for y in (2024, 2025, 2038)], easter.easter(2024, easter.EASTER_ORTHODOX))
print(rrule.rrule(rrule.YEARLY, bymonth=2, bymonthday=29, dtstart=DEFAULT, count=3)[2].year, str(rrule.rrule(rrule.DAILY, count=2, dtstart=DEFAULT)).splitlines())
rule = "EST5EDT,M3.2.0,M11.1.0"
zone = tz.tzstr(rule)
for when in (datetime(2024, 3, 10, 1, 59, tzinfo=zone), datetime(2024, 3, 10, 3, 0, tzinfo=zone), datetime(2024, 11, 3, 1, 30, fold=1, tzinfo=zone)):
    print(when.isoformat(), when.tzname(), when.astimezone(tz.UTC).isoformat(), tz.datetime_ambiguous(when), tz.datetime_exists(when))
print(utils.within_delta(DEFAULT, DEFAULT + timedelta(seconds=3), timedelta(seconds=5)), tz.tzoffset("X", 3600).utcoffset(DEFAULT))
for bad in ("nonsense", "2024-02-30", "25:61"):
    try:
        parser.parse(bad)
    except parser.ParserError as error:
        print(error)
