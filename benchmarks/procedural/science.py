"""Mechanics, circuits, chemistry and unit conversion: real formulas, SI units, real constants (g = 9.8 m/s2,
0 degrees C = 273.15 K, standard atomic weights rounded to integers). Answers are a number and its unit."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from decimal import Decimal

from benchmarks.base import Family, Problem, ProceduralSuite, Slip, Verdict
from benchmarks.graders.answers import grade_quantities

ATOMIC_WEIGHT = {
    "H": 1, "C": 12, "N": 14, "O": 16, "F": 19, "Na": 23, "Mg": 24, "Al": 27, "Si": 28, "P": 31, "S": 32,
    "K": 39, "Ca": 40, "Fe": 56,
}  # fmt: skip
TWO_ELEMENTS = (
    "H2O CO2 NH3 CH4 NO2 N2O SO2 SO3 CO NO H2S NaF KF MgO CaO Al2O3 SiO2 Fe2O3 FeO FeS Na2O K2O CaF2 MgF2 PH3 CS2 "
    "N2O4 N2O5 P2O5 H2O2 Na2S CaS MgS Mg3N2 NF3 SF6 SiF4 CF4 N2H4 HF NaH KH SiH4 Na3N Al2S3 AlN AlF3 FeF3"
).split() + [f"C{n}H{h}" for n in range(2, 7) for h in (2 * n, 2 * n + 2)]
THREE_ELEMENTS = (
    "H2SO4 HNO3 NaOH KOH CaCO3 MgCO3 Na2CO3 K2CO3 NaNO3 KNO3 H3PO4 H2CO3 NaHS MgSO4 CaSO4 FeSO4 K2SO4 Na2SO4 HCN "
    "KCN NaCN Na3PO4 K3PO4 H2SO3 HNO2 NaNO2 KNO2 FeCO3 CH4N2 CH5N C2H7N CH3F CH2F2 C2H5F"
).split() + [f"C{n}H{h}O{o}" for n in range(1, 9) for h, o in ((2 * n + 2, ""), (2 * n, ""), (2 * n, 2))]
_ATOM = re.compile(r"([A-Z][a-z]?)(\d*)")
THREE_ELEMENTS = [f for f in THREE_ELEMENTS if all(symbol in ATOMIC_WEIGHT for symbol, _ in _ATOM.findall(f))]


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")


class Mechanics(Family):
    """One formula (1), one with two operations or g (2), two formulas (3), three (4)."""

    name = "mech"

    def sample(self, rng: random.Random, level: int) -> tuple[object, ...]:
        def r(low: int, high: int) -> int:
            return rng.randint(low, high)

        if level == 1:
            kind = rng.choice(("F", "p", "W", "d", "a", "v"))
            a, b = r(2, 9), r(2, 9)
            return (kind, a * b, a) if kind in "av" else (kind, a, b)
        if level == 2:
            kind = rng.choice(("u", "K", "w"))
            options = {"u": (r(1, 20), r(2, 9), r(2, 9)), "K": (2 * r(1, 4), r(2, 6)), "w": (r(2, 15),)}
            return kind, *options[kind]
        if level == 3:
            kind = rng.choice(("WF", "E", "P"))
            if kind == "P":
                t, force = r(2, 9), r(2, 9)
                return kind, force, t * r(2, 4), t
            return (kind, r(2, 6), r(2, 6), r(2, 6)) if kind == "WF" else (kind, r(2, 5), r(2, 5))
        t = r(2, 6)
        return "PF", r(2, 6), r(2, 6), t * r(2, 4), t

    def prompt(self, params: tuple[object, ...]) -> str:
        kind, *x = params
        return {
            "F": "F? m={}kg a={}m/s2",
            "p": "p? m={}kg v={}m/s",
            "W": "W? F={}N d={}m",
            "d": "d? v={}m/s t={}s",
            "a": "a? F={}N m={}kg",
            "v": "v? d={}m t={}s",
            "u": "v? u={}m/s a={}m/s2 t={}s",
            "K": "K? m={}kg v={}m/s",
            "w": "w? m={}kg",
            "WF": "W? m={}kg a={}m/s2 d={}m",
            "E": "E? m={}kg h={}m",
            "P": "P? F={}N d={}m t={}s",
            "PF": "P? m={}kg a={}m/s2 d={}m t={}s",
        }[str(kind)].format(*x)

    def solve(self, params: tuple[object, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        kind, *x = params
        steps: list[str] = []

        def times(a: int, b: int) -> int:
            value = slip.number(a * b)
            steps.append(f"{a}*{b}={value}")
            return value

        def over(a: int, b: int) -> int:
            value = slip.number(a // b)
            steps.append(f"{a}/{b}={value}")
            return value

        def weight(a: int) -> str:
            tenths = times(a, 98)
            value = _plain(Decimal(tenths) / 10)
            steps.append(f"{a}*9.8={value}")
            return value

        unit = {"F": "N", "p": "kgm/s", "W": "J", "d": "m", "a": "m/s2", "v": "m/s", "u": "m/s", "K": "J", "w": "N"}
        unit |= {"WF": "J", "E": "J", "P": "W", "PF": "W"}
        formula = {"F": "ma", "p": "mv", "W": "Fd", "d": "vt", "a": "F/m", "v": "d/t", "u": "u+at", "K": "mvv/2"}
        formula |= {"w": "mg", "WF": "mad", "E": "mgh", "P": "Fd/t", "PF": "mad/t"}
        steps.append(formula[str(kind)])
        value: int | str
        if kind in ("a", "v"):
            value = over(x[0], x[1])
        elif kind == "u":
            gained = times(x[1], x[2])
            value = slip.number(x[0] + gained)
            steps.append(f"{x[0]}+{gained}={value}")
        elif kind == "K":
            value = over(times(x[0], times(x[1], x[1])), 2)
        elif kind == "w":
            value = weight(x[0])
        elif kind == "WF":
            value = times(times(x[0], x[1]), x[2])
        elif kind == "E":
            value = weight(times(x[0], x[1]))
        elif kind == "P":
            value = over(times(x[0], x[1]), x[2])
        elif kind == "PF":
            value = over(times(times(x[0], x[1]), x[2]), x[3])
        else:
            value = times(x[0], x[1])
        return ",".join(steps), f"{value}{unit[str(kind)]}"


class Circuit(Family):
    """Ohm's law (1), resistors in series (2), in parallel (3), both (4)."""

    name = "circuit"
    parallel = ((2, 2), (3, 6), (4, 4), (4, 12), (6, 6), (6, 12), (8, 8), (6, 3), (12, 4), (12, 6), (10, 10), (5, 20))

    def sample(self, rng: random.Random, level: int) -> tuple[object, ...]:
        current = rng.randint(2, 9)
        if level == 1:
            r = rng.randint(2, 9)
            return rng.choice(("V", "I", "R")), current, r
        if level == 2:
            return rng.choice(("VS", "IS")), current, rng.randint(1, 9), rng.randint(1, 9)
        a, b = rng.choice(self.parallel)
        if level == 3:
            return rng.choice(("VP", "IP")), current, a, b
        return rng.choice(("VPS", "IPS")), current, a, b, rng.randint(1, 9)

    def prompt(self, params: tuple[object, ...]) -> str:
        kind, current, *r = params
        kind = str(kind)
        total = self._total([int(x) for x in r], kind[1:])
        network = str(r[0])
        if "P" in kind:
            network = f"{r[0]}|{r[1]}"
        if "S" in kind:
            network += f"+{r[-1]}"
        given = {"V": f"I={current}A R={network}ohm", "I": f"V={current * total}V R={network}ohm"}
        given["R"] = f"V={current * total}V I={current}A"
        return f"{kind[0]}? {given[kind[0]]}"

    @staticmethod
    def _total(r: list[int], kind: str) -> int:
        total = r[0] * r[1] // (r[0] + r[1]) if "P" in kind else r[0]
        return total + r[-1] if "S" in kind else total

    def solve(self, params: tuple[object, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        kind, current, *r = params
        kind, current, r = str(kind), int(current), [int(x) for x in r]
        voltage = current * self._total(r, kind[1:])
        steps = [{"V": "V=IR", "I": "I=V/R", "R": "R=V/I"}[kind[0]]]
        total = r[0]
        if "P" in kind:
            product, both = slip.number(r[0] * r[1]), slip.number(r[0] + r[1])
            total = slip.number(product // max(both, 1))
            steps += [f"{r[0]}*{r[1]}={product}", f"{r[0]}+{r[1]}={both}", f"{product}/{both}={total}"]
        if "S" in kind:
            before, total = total, slip.number(total + r[-1])
            steps.append(f"{before}+{r[-1]}={total}")
        if kind[0] == "V":
            value = slip.number(current * total)
            steps.append(f"{current}*{total}={value}")
        else:
            divisor = current if kind[0] == "R" else max(total, 1)
            value = slip.number(voltage // divisor)
            steps.append(f"{voltage}/{divisor}={value}")
        return ",".join(steps), f"{value}{ {'V': 'V', 'I': 'A', 'R': 'ohm'}[kind[0]] }"


class MolarMass(Family):
    """Molar mass of compounds of two (1) or three elements (2), mass of an amount of them (3), (4)."""

    name = "chem"

    def sample(self, rng: random.Random, level: int) -> tuple[object, ...]:
        if level == 1:
            if rng.random() < 0.5:
                return rng.choice(sorted(ATOMIC_WEIGHT)), rng.randint(2, 5)
            return rng.choice(TWO_ELEMENTS), 1
        if level == 2:
            return rng.choice((rng.choice(THREE_ELEMENTS), rng.choice(TWO_ELEMENTS))), rng.choice((1, 2, 3))
        # from 4 mol on: fewer would repeat problems of level 2
        return rng.choice(TWO_ELEMENTS if level == 3 else THREE_ELEMENTS), rng.randint(4, 9)

    def prompt(self, params: tuple[object, ...]) -> str:
        formula, moles = params
        return f"M? {formula}" if moles == 1 else f"m? {moles}mol {formula}"

    def solve(self, params: tuple[object, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        formula, moles = str(params[0]), int(str(params[1]))
        steps, total = [], None
        for symbol, count in _ATOM.findall(formula):
            mass = ATOMIC_WEIGHT[symbol]
            if count:
                mass = slip.number(mass * int(count))
                steps.append(f"{count}*{ATOMIC_WEIGHT[symbol]}={mass}")
            if total is not None:
                added = slip.number(total + mass)
                steps.append(f"{total}+{mass}={added}")
                mass = added
            total = mass
        assert total is not None
        if moles == 1:
            return ",".join(steps), f"{total}g/mol"
        value = slip.number(moles * total)
        steps.append(f"{moles}*{total}={value}")
        return ",".join(steps), f"{value}g"


class Units(Family):
    """Temperatures, lengths and times (1), speeds (2), distance from a speed in km/h (3), with a start (4)."""

    name = "units"

    def sample(self, rng: random.Random, level: int) -> tuple[object, ...]:
        if level == 1:
            kind = rng.choice(("C", "min", "h", "km", "cm"))
            return kind, rng.randint(1, 99 if kind in ("C", "km") else 30)
        if level == 2:
            return rng.choice(("kmh", "ms", "hs")), rng.randint(1, 20)
        if level == 3:
            return "dist", rng.randint(1, 12), rng.randint(2, 9)
        return "far", rng.randint(1, 12), rng.randint(2, 9), rng.randint(1, 50)

    def prompt(self, params: tuple[object, ...]) -> str:
        kind, x, *rest = params
        x = int(str(x))
        return {
            "C": f"{x}C in K",
            "min": f"{x}min in s",
            "h": f"{x}h in min",
            "km": f"{x}km in m",
            "cm": f"{x}cm in mm",
            "kmh": f"{18 * x}km/h in m/s",
            "ms": f"{5 * x}m/s in km/h",
            "hs": f"{x}h in s",
            "dist": f"d? v={18 * x}km/h t={rest[0] if rest else 0}s",
            "far": f"d? d0={rest[1] if len(rest) > 1 else 0}m v={18 * x}km/h t={rest[0] if rest else 0}s",
        }[str(kind)]

    def solve(self, params: tuple[object, ...], slip: Slip, style: int = 0) -> tuple[str, str]:
        kind, x, *rest = params
        kind, x = str(kind), int(str(x))
        steps: list[str] = []

        def times(a: int, b: int) -> int:
            value = slip.number(a * b)
            steps.append(f"{a}*{b}={value}")
            return value

        if kind == "C":
            value = slip.number(x + 273)
            steps.append(f"{x}+273.15={value}.15")
            return ",".join(steps), f"{value}.15K"
        if kind in ("min", "h", "km", "cm"):
            factor, unit = {"min": (60, "s"), "h": (60, "min"), "km": (1000, "m"), "cm": (10, "mm")}[kind]
            return f"{x}*{factor}={(value := slip.number(x * factor))}", f"{value}{unit}"
        if kind == "hs":
            seconds = times(times(x, 60), 60)
            return ",".join(steps), f"{seconds}s"
        if kind == "ms":
            # 3.6 = 18 / 5
            fifth = slip.number(x)
            steps.append(f"{5 * x}/5={fifth}")
            return ",".join([*steps, f"{fifth}*18={(value := slip.number(18 * fifth))}"]), f"{value}km/h"
        speed18 = slip.number(x)
        steps.append(f"{18 * x}/18={speed18}")
        speed = times(speed18, 5)
        if kind == "kmh":
            return ",".join(steps), f"{speed}m/s"
        distance = times(speed, int(str(rest[0])))
        if kind == "far":
            before, distance = distance, slip.number(distance + int(str(rest[1])))
            steps.append(f"{before}+{rest[1]}={distance}")
        return ",".join(steps), f"{distance}m"


class ScienceSuite(ProceduralSuite):
    name = "science"
    domain = "science"
    summary = "mechanics, circuits, molar masses, units; a number with its unit"
    families = (Mechanics(), Circuit(), MolarMass(), Units())

    def grade(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Verdict]:
        return grade_quantities(problems, responses)
