// date-fns: dates added to, compared, formatted, parsed and counted, in UTC.
process.env.TZ = 'UTC';
const f = require('date-fns');
const { de } = require('date-fns/locale');

const day = new Date(Date.UTC(2024, 1, 29, 13, 5, 9));
console.log(f.format(day, "yyyy-MM-dd'T'HH:mm:ss.SSSxxx EEEE do 'week' I QQQ B"), f.format(day, 'PPPPpp'), f.format(day, 'EEEE, d. MMMM yyyy', { locale: de }));
console.log(f.formatISO(f.addMonths(day, 12)), f.formatISO(f.addBusinessDays(day, 3)), f.formatISO(f.add(day, { years: 1, weeks: -2, minutes: 70 })), f.lastDayOfMonth(day).getDate());
console.log(f.differenceInCalendarDays(new Date(2025, 0, 1), day), f.differenceInMonths(new Date(2025, 0, 1), day), f.intervalToDuration({ start: day, end: new Date(Date.UTC(2026, 4, 1)) }));
console.log(f.formatDistance(day, new Date(Date.UTC(2024, 2, 20))), f.formatDistance(0, 95000, { includeSeconds: true, addSuffix: true }), f.formatDistanceStrict(0, 86400000 * 45, { locale: de }));
console.log(f.parse('3 Feb 99 5pm', 'd MMM yy haaa', new Date(0)).toISOString(), f.parseISO('2020-W10-3T24:00').toString(), f.parseISO('2020-366').toISOString(), f.isValid(new Date('x')));
console.log(f.eachDayOfInterval({ start: day, end: f.addDays(day, 3) }).map(d => f.format(d, 'EEE')), f.eachWeekendOfMonth(day).length, f.getISOWeek(day), f.isLeapYear(day), f.getQuarter(day));
console.log(f.closestTo(day, [new Date(2024, 0, 1), new Date(2024, 2, 1), new Date(2025, 0, 1)]).toISOString(), f.areIntervalsOverlapping({ start: 0, end: 5 }, { start: 4, end: 9 }), f.formatDuration({ months: 1, days: 2, hours: 0 }, { zero: true }));
console.log(f.startOfWeek(day, { weekStartsOn: 1 }).toISOString(), f.roundToNearestMinutes(day, { nearestTo: 15 }).toISOString(), f.setISODay(day, 1).toISOString(), f.isSameQuarter(day, new Date(2024, 0, 2)));
try {
  f.format(day, 'YYYY-MM-DD');
} catch (error) {
  console.log(error.name, error.message.slice(0, 60));
}
