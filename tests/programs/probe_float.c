/* Floating point: 80-bit x87, NaN signs, conversions, rounding modes. */
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

static volatile double dz = 0.0, dn = -0.0;
static volatile float fz = 0.0f;
static volatile long double lz = 0.0L;

static uint64_t bits(double d) {
    uint64_t u;
    memcpy(&u, &d, 8);
    return u;
}

static void show(const char *what, long double v) {
    unsigned char b[16] = {0};
    memcpy(b, &v, 10);
    printf("%-14s %.21Lg ", what, v);
    for (int i = 9; i >= 0; i--)
        printf("%02x", b[i]);
    putchar('\n');
}

static int long_double(int argc, char **argv) {
    (void)argc, (void)argv;
    const char *texts[] = {"0.1", "1e4932", "-3.3621031431120935062627e-4932", "1e-4950", "123456789012345678901234567890", "nan", "-inf", "0x1.fffffffffffffffep+16383", "1.00000000000000000005", "9007199254740993"};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        show(texts[i], strtold(texts[i], 0));
    volatile long double a = 1.0L, b = 3.0L;
    show("1/3", a / b);
    show("sqrt 2", sqrtl(2.0L));
    show("0/0", lz / lz);
    show("1/0", a / lz);
    show("rem", fmodl(1e18L + 0.5L, 7.25L));
    show("floor", floorl(-1234567.5L));
    show("rint", rintl(2.5L));
    show("ldexp", ldexpl(1.5L, -16400));
    long double sum = 0;
    for (int i = 1; i < 100000; i++)
        sum += 1.0L / i;
    show("harmonic", sum);
    printf("%Lf %.3Le %La %Lg\n", 12345.678901234567890123L, 1e-4000L, 1.5L, 1e20L);
    printf("%lld %llu %d\n", (long long)-1e18L, (unsigned long long)1.8e19L, (int)-7.9L);
    for (int mode = 0; mode < 4; mode++) {
        static const int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
        fesetround(modes[mode]);
        printf("mode %d: %.18Lg %lld %lld\n", mode, a / b, llrintl(2.5L), llrintl(-3.5L));
        fesetround(FE_TONEAREST);
    }
    return 0;
}

static int doubles(int argc, char **argv) {
    (void)argc, (void)argv;
    printf("0/0 %f %016lx, -(0/0) %f, inf-inf %f, sqrt(-1) %f\n", dz / dz, bits(dz / dz), -(dz / dz), 1 / dz - 1 / dz, sqrt(dn - 1));
    printf("float 0/0 %f, 0*inf %f\n", fz / fz, fz * (1 / fz));
    printf("-0 %f %g, 1/-0 %f\n", dn, dn * 1, 1 / dn);
    volatile double big = 1e300, tiny = 5e-324, nan = __builtin_nan("0x123");
    printf("conversions %d %ld %d %u %ld\n", (int)big, (long)big, (int)nan, (unsigned)(long)nan, (long)-big);
    printf("min %a %a max %a %a\n", fmin(nan, 1), fmin(dz, dn), fmax(1, nan), fmax(dn, dz));
    printf("nan payload %016lx %016lx %016lx\n", bits(nan + 1), bits(1 + nan), bits(nan * -nan));
    printf("denormal %a %a %a\n", tiny, tiny / 2, tiny * 3);
    printf("compare %d %d %d %d %d\n", nan < 1, nan > 1, nan == nan, nan != nan, isunordered(nan, 1.0));
    printf("overflow %f %f underflow %a\n", big * big, -big * big, 1e-300 * (volatile double){1e-300});
    printf("round %.0f %.0f %.0f %.0f\n", rint(0.5), rint(1.5), nearbyint(-2.5), round(2.5));
    printf("strtod %a %a %a\n", strtod("1e-320", 0), strtod("1.7976931348623157e308", 0), strtod("2.2250738585072011e-308", 0));
    printf("print %.20f %.0e %g %g %a\n", 0.1, 12345.0, 1e100, 123456789.0, 0.3);
    double s = 0;
    for (int i = 0; i < 1000; i++)
        s += sin(i) * cos(i * 0.5) + exp(-i * 0.01) + log(i + 1) + pow(1.01, i % 50) + atan2(i, 3) + tan(i * 0.001);
    printf("libm %.17g\n", s);
    for (int mode = 0; mode < 4; mode++) {
        static const int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
        int r = fesetround(modes[mode]);
        volatile double one = 1, three = 3;
        printf("mode %d set %d read %d\n", mode, r, fegetround() == modes[mode]);
        (void)one, (void)three;
        fesetround(FE_TONEAREST);
    }
    return 0;
}

/* What compilers make of comparisons: branches on two flags, flags in registers, conditional moves. */
#define COMPARE(TYPE)                                                                                                  \
    __attribute__((noinline)) static int branches_##TYPE(TYPE a, TYPE b) {                                             \
        int r = 0;                                                                                                     \
        if (a == b)                                                                                                    \
            r = getpid() > 0;                                                                                          \
        if (a != b)                                                                                                    \
            r += getpid() > 0 ? 2 : 0;                                                                                 \
        while (a == b && r < 9)                                                                                        \
            r += 4;                                                                                                    \
        return a < b ? r + 100 : a <= b ? r + 200 : a > b ? r + 300 : r + 400;                                         \
    }                                                                                                                  \
    __attribute__((noinline)) static int values_##TYPE(TYPE a, TYPE b, int x, int y) {                                 \
        int chosen = a == b ? x : y, other = a != b ? x * 3 : y * 5;                                                   \
        return chosen + other + (a == b) * 1000 + (a != b) * 2000 + (a < b) * 4000 + (a >= b) * 8000 + !!(a - b) * 16000; \
    }
COMPARE(double)
COMPARE(float)

static int compare(int argc, char **argv) {
    (void)argc, (void)argv;
    double values[] = {dz, dn, 1, -1, 1.5, NAN, -NAN, INFINITY, -INFINITY, 5e-324, 1e300};
    int n = sizeof values / sizeof *values;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double a = values[i], b = values[j];
            printf("%d %d: %d %d %d %d\n", i, j, branches_double(a, b), values_double(a, b, i, j), branches_float(a, b), values_float(a, b, i, j));
        }
    return 0;
}

/* The exceptions that can be told: divisions by zero and invalid operations, one element or several at once, conversions to integers, and what libm and programs raise. */
static void raised(const char *what, double result) {
    int e = fetestexcept(FE_DIVBYZERO | FE_INVALID);
    printf("%-10s %g%s%s\n", what, result, e & FE_DIVBYZERO ? " division by zero" : "", e & FE_INVALID ? " invalid" : "");
    feclearexcept(FE_ALL_EXCEPT);
}

__attribute__((noinline, optimize("O3"))) static void divide(double *to, const double *a, const double *b) {
    for (int i = 0; i < 8; i++)
        to[i] = a[i] / b[i];
}

__attribute__((noinline, optimize("O3"))) static void dividef(float *to, const float *a, const float *b) {
    for (int i = 0; i < 8; i++)
        to[i] = a[i] / b[i];
}

__attribute__((noinline, optimize("O3"))) static void to_ints(int *to, const double *a) {
    for (int i = 0; i < 8; i++)
        to[i] = (int)a[i];
}

__attribute__((noinline, optimize("O3"))) static void to_intsf(int *to, const float *a) {
    for (int i = 0; i < 8; i++)
        to[i] = (int)a[i];
}

static void conversions(void) {
    static volatile double of[] = {0, -0.0, 0.5, 2147483647, 2147483647.5, 2147483648, -2147483648.0, -2147483648.75, -2147483649.0,
                                   9223372036854774784.0, 9223372036854775808.0, -9223372036854775808.0, -9223372036854777856.0,
                                   1e300, -INFINITY, NAN};
    for (unsigned i = 0; i < sizeof of / sizeof *of; i++) {
        volatile float f = of[i];
        double all[8] = {0};
        float allf[8] = {0};
        int to[8];
        feclearexcept(FE_ALL_EXCEPT);
        raised("to int", (int)of[i]);
        raised("to long", (long)of[i]);
        raised("float to int", (int)f);
        raised("float to long", (long)f);
        raised("lrint", lrint(of[i]));
        raised("lrintf", lrintf(f));
        all[i % 8] = of[i], to_ints(to, all), raised("ints", to[i % 8]);
        allf[i % 8] = f, to_intsf(to, allf), raised("ints of floats", to[i % 8]);
    }
}

static int exceptions(int argc, char **argv) {
    (void)argc, (void)argv;
    volatile double one = 1, inf = INFINITY, nan = NAN, big = 1e300;
    volatile float onef = 1;
    feclearexcept(FE_ALL_EXCEPT);
    raised("1/3", one / 3);
    raised("1/0", one / dz);
    raised("1/-0", one / dn);
    raised("0/0", fabs(dz / dz));
    raised("1/0 float", onef / fz);
    raised("0/0 float", fabs(fz / fz));
    raised("inf/0", inf / dz);
    raised("nan/0", nan / dz);
    raised("inf-inf", fabs(inf - inf));
    raised("0*inf", fabs(dz * inf));
    raised("nan+1", nan + one);
    raised("big*10", big * 10);
    raised("sqrt -1", fabs(sqrt(dn - 1)));
    raised("log 0", log(dz));
    raised("log -1", fabs(log(-one)));
    raised("pow 0,-1", pow(dz, -one));
    raised("fmod 1,0", fabs(fmod(one, dz)));
    double a[8] = {1, 2, 3, 4, 5, 6, 7, 8}, b[8] = {1, 1, 1, 1, 1, 1, 1, 1}, to[8];
    float af[8] = {1, 2, 3, 4, 5, 6, 7, 8}, bf[8] = {1, 1, 1, 1, 1, 1, 1, 1}, tof[8];
    for (int i = 0; i < 9; i++) {
        divide(to, a, b), raised("8 doubles", to[0]);
        dividef(tof, af, bf), raised("8 floats", tof[0]);
        if (i < 8)
            b[i] = 0, bf[i] = -0.0f, a[i] = af[i] = i % 3 == 2 ? NAN : i % 3 ? INFINITY : 0;
        if (i == 6)
            a[i] = af[i] = 1;
    }
    conversions();
    feraiseexcept(FE_DIVBYZERO), raised("raise", 0);
    feraiseexcept(FE_INVALID), raised("raise", 0);
    return 0;
}

const struct probe float_probes[] = {{"long-double", long_double}, {"double", doubles}, {"compare", compare}, {"exceptions", exceptions}, {0, 0}};
