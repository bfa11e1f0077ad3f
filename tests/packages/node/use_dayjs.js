// dayjs: parsing, formatting, arithmetic, plugins, durations and locales, in UTC.
process.env.TZ = 'UTC';
const dayjs = require('dayjs');
for (const name of ['utc', 'duration', 'relativeTime', 'customParseFormat', 'weekOfYear', 'isBetween', 'advancedFormat', 'isLeapYear', 'quarterOfYear', 'minMax', 'objectSupport']) dayjs.extend(require(`dayjs/plugin/${name}`));
require('dayjs/locale/fr');

const day = dayjs.utc('2024-02-29T13:05:09.042Z');
console.log(day.format(), day.format('dddd, MMMM Do YYYY h:mm:ss.SSS a [week] w Q X'), day.locale('fr').format('dddd D MMMM'));
console.log(day.add(1, 'year').format('YYYY-MM-DD'), day.subtract(1, 'month').endOf('month').toISOString(), day.startOf('week').format('ddd D'), day.add(2, 'quarter').month(), day.isLeapYear());
console.log(day.diff('2023-01-01', 'month', true).toFixed(4), day.diff('2025-01-01', 'day'), day.isBefore('2024-03-01'), day.isBetween('2024-02-01', '2024-02-29T13:05:10', null, '[)'), day.isSame('2024-02-01', 'month'));
console.log(dayjs.utc('29/02/24 5PM', 'DD/MM/YY hA', true).toISOString(), dayjs('31-31-2024', 'DD-MM-YYYY', true).isValid(), dayjs.utc({ year: 2020, month: 1, day: 3 }).toISOString());
console.log(dayjs.duration({ hours: 25, minutes: 61 }).toISOString(), dayjs.duration('P1Y2M3DT4H').asDays(), dayjs.duration(95, 'second').humanize(true), dayjs.duration(3661000).format('H:mm:ss'));
console.log(day.from('2024-03-15'), day.to('2023-12-31'), day.locale('fr').from('2024-02-20'), dayjs.max(day, day.add(1, 'day')).date(), day.set('hour', 25).toISOString());
console.log(day.utcOffset(120).format('YYYY-MM-DD HH:mm Z'), day.unix(), day.daysInMonth(), dayjs('nonsense').isValid(), JSON.stringify({ day }), day.toObject ? 'plugin' : Object.keys(day.clone()).length > 0);
