// Sources of one form inside another, some of them the same text twice.
const same = () => 1, again = () => 1;
class Shape {
  #sides = 3;
  static kind = 'shape';
  static { this.made = true; }
  get sides() { return this.#sides; }
  set sides(value) { this.#sides = value; }
  static of(n) { const shape = new this(); shape.#sides = n; return shape; }
  *[Symbol.iterator]() { for (let i = 0; i < this.#sides; i++) yield i; }
  has(other) { return #sides in other; }
}
class Square extends Shape { area = (a) => a ** 2; }
function outer(a, b = () => a, ...rest) {
  function inner() { return function innermost() { return [a, b, rest]; }; }
  return inner;
}
const strings = (parts) => parts;
module.exports = {
  same, again, Shape, Square, outer, inner: outer(1), innermost: outer(1)(),
  async wait() { await null; },
  get 'computed by'() { return 'getter'; },
  area: Square.of(4).area, list: [...Square.of(4)], has: new Shape().has({}), made: Shape.made,
  wide: 'zwölf Boxkämpfer, 十二, 🥊', 'ключ': /[а-я]+\p{L}🥊/u, big: 12345678901234567890n, tiny: -0, fraction: 1e-7,
  tag: () => strings`a\n${1}b${'ü'}`, lines: `1
2`,
  thrower() {
    /* 🥊 */ const nothing = null; nothing.property.of.it;
  },
  unicode: function größe() { return 'größer'; },
};
