// joi: objects validated, converted and described, with references, alternatives and messages of our own.
const Joi = require('joi');

const schema = Joi.object({
  name: Joi.string().trim().lowercase().pattern(/^[a-z ]+$/, 'letters').min(2).required(),
  mail: Joi.string().email({ tlds: false }),
  birth: Joi.number().integer().min(1900).max(2020),
  password: Joi.string().when('name', { is: 'admin', then: Joi.required(), otherwise: Joi.forbidden() }),
  repeat: Joi.ref('password'),
  tags: Joi.array().items(Joi.string(), Joi.number().strip()).unique().single(),
  from: Joi.date().iso(),
  to: Joi.date().iso().greater(Joi.ref('from')),
  size: Joi.alternatives(Joi.number(), Joi.string().valid('big', 'small')).default('small'),
  extra: Joi.object().pattern(/^x-/, Joi.boolean()).unknown(false),
  id: Joi.string().guid(),
  host: Joi.string().hostname(),
  custom: Joi.any().custom((value, helpers) => (value === 13 ? helpers.error('any.invalid') : value * 2)),
}).and('from', 'to').with('repeat', 'password').messages({ 'number.max': '{{#label}} is too late: {#value}' });
for (const value of [
  { name: '  Ada L ', birth: '1815', tags: 'one' }, { name: ' Ada ', birth: '1915', tags: ['a', 5, 'b'], custom: 4, extra: { 'x-a': 'true' } }, { name: 'x1', mail: 'no', size: 'huge' }, { name: 'admin' },
  { name: 'admin', password: 'p', repeat: 'q', birth: 2030 }, { name: 'ada', from: '2024-03-01', to: '2024-02-29' }, { name: 'ada', from: '2024-03-01' }, { name: 'ada', custom: 13, extra: { y: 1 }, unknown: 1, id: 'x', host: 'a_b', tags: ['a', 'a'] }, {}, 5,
]) {
  const { error, value: got } = schema.validate(value, { abortEarly: false });
  console.log(JSON.stringify(got), error ? error.details.map(d => `${d.type}: ${d.message}`) : 'ok');
}
console.log(JSON.stringify(schema.describe().keys.name), Joi.attempt('5', Joi.number()), Joi.isSchema(schema), schema.extract('birth').type);
Joi.string().external(async v => v + '!').validateAsync('x').then(v => console.log(v)).then(() => Joi.number().validateAsync('x')).catch(error => console.log(error.name, error.message));
