#!/usr/bin/env python3
"""Remakes the polynomials of src/cpu/math.rs: weighted minimax fits by the exchange algorithm of Remez (1934).

    pip install mpmath && python3 backends/fits.py

Each line: what is fitted, interval, weight, largest weighted error, coefficients from the constant one on. Those in
math.rs agree with these to two parts in a million, and their weighted error is at most 1.4 times the least one.
"""

import mpmath as mp

mp.mp.dps = 40
LN2, HALF_ROOT = mp.log(2), mp.sqrt(2) / 2


def minimax(target, degree, weight, low, high, grid=1500):
    """Coefficients of the polynomial with the least largest `|weight (polynomial - target)|`, and that error."""
    count = degree + 1
    node = lambda k, of: (low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * k / of)
    xs = [node(k, grid) for k in range(grid + 1)]
    rows = [[x**k * weight(x) for k in range(count)] for x in xs]
    values = [target(x) * weight(x) for x in xs]
    points = [node(k, count) for k in range(count + 1)]
    for _ in range(12):
        system, right = mp.matrix(count + 1, count + 1), mp.matrix(count + 1, 1)
        for i, x in enumerate(points):
            for k in range(count):
                system[i, k] = x**k * weight(x)
            system[i, count], right[i] = (-1) ** i, target(x) * weight(x)
        coefficients = mp.lu_solve(system, right)[:count]
        errors = [sum(c * r for c, r in zip(coefficients, row)) - v for row, v in zip(rows, values)]
        # The next points: where the error is largest between two changes of its sign.
        extrema, start = [], 0
        while start < len(xs):
            end = start
            while end < len(xs) and (errors[end] >= 0) == (errors[start] >= 0):
                end += 1
            extrema.append(max(range(start, end), key=lambda i: abs(errors[i])))
            start = end
        while len(extrema) > count + 1:
            extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
        if len(extrema) < count + 1:
            break
        points = [xs[i] for i in extrema]
    return coefficients, max(abs(e) for e in errors)


def away(f, limit=mp.mpf(10) ** -9):
    """`f`, at a point beside 0 where it is asked for its limit there."""
    return lambda x: f(x if abs(x) > limit else limit)


atanh2 = away(lambda z: mp.log((1 + mp.sqrt(z)) / (1 - mp.sqrt(z))) / LN2 / mp.sqrt(z))
FITS = [
    ("exp: (e^r - 1 - r) / r^2", away(lambda r: (mp.exp(r) - 1 - r) / r**2), 4,
     "r^2 / e^r", lambda r: r**2 / mp.exp(r), -LN2 / 2, LN2 / 2),
    ("log: (ln(1 + f) - f + f^2 / 2) / f^3", away(lambda f: (mp.log(1 + f) - f + f**2 / 2) / f**3), 7,
     "|f^3 / ln(1 + f)|", away(lambda f: abs(f) ** 3 / abs(mp.log(1 + f))), HALF_ROOT - 1, mp.sqrt(2) - 1),
    ("tanh: (tanh(x) / x - 1) / z, z = x^2", away(lambda z: (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z), 4,
     "z", lambda z: z, mp.mpf(0), mp.mpf("0.625") ** 2),
    ("log2: (log2((1 + s) / (1 - s)) / s - 2 / ln 2) / z, z = s^2", away(lambda z: (atanh2(z) - 2 / LN2) / z), 3,
     "z", lambda z: z, mp.mpf(0), ((1 - HALF_ROOT) / (1 + HALF_ROOT)) ** 2),
    ("exp2: 2^r", lambda r: mp.mpf(2) ** r, 7, "2^-r", lambda r: mp.mpf(2) ** -r, mp.mpf("-0.5"), mp.mpf("0.5")),
]

for name, target, degree, how, weight, low, high in FITS:
    coefficients, error = minimax(target, degree, weight, low, high)
    print(f"{name}, [{mp.nstr(low, 6)}, {mp.nstr(high, 6)}], weight {how}: error {mp.nstr(error, 3)}")
    print("   ", ", ".join(mp.nstr(c, 17) for c in coefficients))
