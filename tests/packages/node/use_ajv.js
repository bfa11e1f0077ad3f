// ajv: JSON schema compiled to functions: references, formats of our own, keywords, coercion, defaults, all errors.
const Ajv = require('ajv');
const Ajv2020 = require('ajv/dist/2020');
const standaloneCode = require('ajv/dist/standalone').default;

const ajv = new Ajv({ allErrors: true, useDefaults: true, coerceTypes: true, removeAdditional: true, code: { source: true } });
ajv.addFormat('even-length', text => text.length % 2 === 0);
ajv.addKeyword({ keyword: 'sumBelow', type: 'array', schemaType: 'number', compile: max => list => list.reduce((a, b) => a + b, 0) < max });
ajv.addSchema({ $id: 'step', type: 'object', required: ['run'], properties: { run: { type: 'string', minLength: 2 }, next: { $ref: 'step' } } });
const validate = ajv.compile({
  type: 'object',
  required: ['name', 'steps'],
  additionalProperties: false,
  properties: {
    name: { type: 'string', pattern: '^[a-z]+$', format: 'even-length' },
    steps: { type: 'array', items: { $ref: 'step' }, minItems: 1, uniqueItems: true },
    sizes: { type: 'array', items: { type: 'number' }, sumBelow: 10, default: [1, 2] },
    kind: { enum: ['a', 'b'] },
    count: { type: 'integer', exclusiveMaximum: 5 },
  },
  if: { properties: { kind: { const: 'b' } }, required: ['kind'] },
  then: { required: ['count'] },
});
for (const data of [
  { name: 'good', steps: [{ run: 'xx', next: { run: 'yy' } }], count: '3', extra: 1 },
  { name: 'Bad', steps: [] }, { steps: [{ run: 'x' }, { next: { run: 5 } }], kind: 'b' }, { name: 'ab', steps: [{ run: 'aa' }, { run: 'aa' }], sizes: [5, 6], count: 7, kind: 'c' }, 'text',
]) {
  console.log(validate(data), JSON.stringify(data), ajv.errorsText(validate.errors, { separator: '\n  ' }));
}
const tuple = new Ajv2020({ strictTuples: false }).compile({ prefixItems: [{ type: 'number' }, { type: 'string' }], items: false, unevaluatedItems: false });
console.log(tuple([1, 'a']), tuple([1, 2]), tuple([1, 'a', 3]), tuple.errors[0].keyword);
console.log(standaloneCode(ajv, ajv.compile({ type: 'string', maxLength: 3 })).includes('maxLength'));
try {
  new Ajv().compile({ type: 'nonsense' });
} catch (error) {
  console.log(error.message);
}
