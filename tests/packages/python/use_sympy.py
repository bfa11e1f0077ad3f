"""SymPy: algebra, calculus, equations, matrices, number theory and printing, all exact."""
from sympy import (Eq, Function, Matrix, Rational, Sum, apart, cos, diff, dsolve, expand, factor, factorint, integrate, latex, limit, nsimplify, oo, pi, pretty,
                   prime, series, simplify, sin, solve, sqrt, symbols, sympify, exp, I, Poly, binomial, lambdify)

x, y, n = symbols("x y n")
print(expand((x + y) ** 4), factor(x**6 - 1), simplify(sin(x) ** 2 + cos(x) ** 2), apart(1 / (x**3 - x)))
print(diff(sin(x**2) * exp(x), x), integrate(x**2 * exp(-x), (x, 0, oo)), integrate(1 / (x**2 + 1), x), limit(sin(x) / x, x, 0))
print(series(cos(x), x, 0, 8), Sum(1 / n**2, (n, 1, oo)).doit(), Sum(n**3, (n, 1, y)).doit().factor())
print(solve(x**3 - 2 * x + 1, x), solve([Eq(x + y, 5), Eq(x * y, 6)], [x, y]), solve(x**2 + 2 * x + 5))
f = Function("f")
print(dsolve(f(x).diff(x, 2) + f(x), f(x)))
m = Matrix([[2, 1, 0], [1, 3, 1], [0, 1, 2]])
print(m.det(), m.inv(), sorted(m.eigenvals().items(), key=str), m.rref()[1])
print(factorint(2**67 - 1), prime(1000), binomial(50, 25), sqrt(8), Rational(3, 12) + Rational(1, 3), (1 + I) ** 8)
print(pi.evalf(60), nsimplify(0.333333333333, tolerance=1e-9), sympify("2*x + sqrt(16)").subs(x, 3), Poly(x**4 + 3 * x, x).all_coeffs())
print(latex(integrate(sqrt(x) / y, x)), pretty((x**2 + 1) / sqrt(y), use_unicode=False), sep="\n")
print(lambdify(x, x**3 + cos(0), "math")(2.5))
