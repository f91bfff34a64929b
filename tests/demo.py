"""Whether the story of `segcal demo` holds: python tests/demo.py target/release/segcal [SEEDS].

For each seed the verdicts must be over-confident (cross entropy), calibrated (with a temperature) and calibrated (the true
posterior). MbLS must lower confidence beyond the interval of the change and end nearer to 0 than cross entropy: its margin is not
fitted to the volumes, as the temperature is, so it may end on the other side of 0. Prints a line for each seed and exits with 1
if one does not hold.
"""

import json
import subprocess
import sys
import tempfile

EXPECTED = {"ce": "over_confident", "ce-temperature": "calibrated", "posterior": "calibrated"}


def main() -> int:
    program, seeds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10
    wrong = 0
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            command = [program, "demo", f"{folder}/demo", "--seed", str(seed), "--json", "-q"]
            arms = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found = {name: arm["verdict"] for name, arm in arms.items()}
        right = all(found[name]["verdict"] == verdict for name, verdict in EXPECTED.items())
        right &= arms["mbls"]["change"][2] < 0
        right &= abs(found["mbls"]["excess"]) < abs(found["ce"]["excess"])
        wrong += not right
        points = [
            f"{name} {100 * v['excess']:+.1f} [{100 * v['interval'][0]:+.1f}, {100 * v['interval'][1]:+.1f}] {v['verdict']}"
            for name, v in found.items()
        ]
        change = "; MbLS from cross entropy {:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * end for end in arms["mbls"]["change"]))
        print(f"seed {seed}: {'right' if right else 'WRONG'}: " + "; ".join(points) + change, flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
