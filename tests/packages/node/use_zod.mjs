// zod: schemas that parse, transform, refine and discriminate; all issues; JSON schema.
import { z } from 'zod';

const Step = z.object({ run: z.string().min(2), get next() { return Step.optional(); } });
const Plan = z.strictObject({
  name: z.string().trim().toLowerCase().regex(/^[a-z ]+$/),
  mail: z.email().optional(),
  steps: z.array(Step).nonempty().max(3),
  size: z.union([z.number().int().positive(), z.literal(['big', 'small'])]).default('small'),
  when: z.coerce.date().nullish(),
  tags: z.set(z.string()).optional(),
  map: z.record(z.string(), z.number().multipleOf(0.5)).optional(),
  kind: z.enum(['a', 'b']).catch('a'),
  pair: z.tuple([z.string(), z.bigint()]).rest(z.boolean()).optional(),
}).refine(plan => plan.name !== 'bad', { error: 'not that one', path: ['name'] });
for (const value of [{ name: '  Ada L ', steps: [{ run: 'aa', next: { run: 'bb' } }], when: '2024-02-29', kind: 'zzz' }, { name: 'x', steps: [{ run: 'aa' }], tags: new Set(['q']), pair: ['s', 5n, true], map: { h: 1.5 }, size: 4 },
  { name: 'bad', steps: [{ run: 'ok' }] }, { name: 'X1', mail: 'no', steps: [], size: -1, extra: 1 }, { steps: [{ run: 'a', next: { run: 5 } }], name: 5, map: { q: 0.3 }, pair: ['s'], when: 'never' }, null]) {
  const result = Plan.safeParse(value);
  console.log(result.success ? result.data : result.error.issues.map(i => `${i.path.join('.')}: ${i.code}: ${i.message}`));
}
const Event = z.discriminatedUnion('type', [z.object({ type: z.literal('add'), n: z.number() }), z.object({ type: z.literal('say'), text: z.string() })]);
const Length = z.string().transform((text, context) => { if (!text) context.addIssue('empty'); return text.length; }).pipe(z.number().max(5));
console.log(Event.parse({ type: 'add', n: 1, more: 2 }), Event.safeParse({ type: 'x' }).error.issues[0].code, Length.safeParse('abc').data, Length.safeParse('abcdefg').error.issues[0].message, z.prettifyError(Length.safeParse('').error));
console.log(JSON.stringify(z.toJSONSchema(z.object({ a: z.string().max(3).describe('A'), b: z.array(z.int()).optional(), c: z.nullable(z.enum(['x'])) }))));
console.log(z.object({ a: z.string(), b: z.number() }).partial().omit({ b: true }).extend({ c: z.boolean() }).keyof().options, z.flattenError(Plan.safeParse({ name: 'ok' }).error).fieldErrors, z.string().brand('id').parse('b'), z.templateLiteral(['v', z.number()]).safeParse('v12').success);
console.log(await z.string().refine(async text => text.length > 2).safeParseAsync('ab').then(r => r.success), [z.ipv4(), z.uuid(), z.iso.datetime(), z.url(), z.base64()].map(s => [s.safeParse('127.0.0.1').success, s.safeParse('aGk=').success, s.safeParse('http://a.example/').success].join()), z.function({ input: [z.number()], output: z.string() }).implement(n => `n${n}`)(4));
