"""Prints what scripts/bench-filter has measured as tables, and with --write puts them into docs/BENCHMARKS.md.

    table.py FOLDER [--write] -- WORKLOAD ...

Fails if engines disagree about what matches: a table of engines that do different work says nothing. But where another engine finds
what Tidings finds, one that finds something else is shown with its fault.
"""

import re
import sys
from pathlib import Path

PAGE = Path("docs/BENCHMARKS.md")
BEGIN, END = "<!-- filter index: begin -->", "<!-- filter index: end -->"
SECTION = """## The filter index

Measured by `scripts/bench-filter --write`. What the first table's columns mean is said in `core/benches/filter_match/main.rs`; in the second
every engine has the same rules and events, and found the same matches. Quote ratios, not nanoseconds."""
HEAD = """| workload | engine | ns an event | p50 | p99 | beside Tidings | build s | bytes a rule |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


def rows(workload, results):
    """The lines of one workload's table, ours first, and whether all engines agree."""
    measured, missing = [], []
    for line in results.read_text().splitlines():
        cells = line.split("\t")
        (measured if len(cells) > 2 else missing).append(cells)
    ours = [cells for cells in measured if cells[0] == "Tidings"]
    if not ours:
        return [f"| {workload} | Tidings | not measured: {missing[0][1]} | | | | | |"], False
    # Measured before the others and after them.
    own = sum(float(cells[5]) for cells in ours) / len(ours)
    answer = lambda cells: (cells[3], cells[4])
    others = [cells for cells in measured if cells[0] != "Tidings"]
    confirmed = any(answer(cells) == answer(ours[0]) for cells in others)
    lines, agreed = [], True
    for cells in ours[:1] + others:
        engine, _, _, matches, checksum, each, p50, p99, build, memory = cells
        if (matches, checksum) != (ours[0][3], ours[0][4]):
            print(f"{workload}: {engine} finds {matches} matches ({checksum}), Tidings {ours[0][3]} ({ours[0][4]})", file=sys.stderr)
            agreed = agreed and confirmed
            engine += f" (differs: finds {matches} matches, not {ours[0][3]})"
        # Nothing takes no memory: it was not measured.
        memory = "–" if memory == "0" else memory
        if engine == "Tidings":
            each, ratio = f"{own:.0f}", ""
        else:
            ratio = f"{float(each) / own:.1f} ×"
        lines.append(f"| {workload} | {engine} | {each} | {p50} | {p99} | {ratio} | {build} | {memory} |")
    lines += [f"| {workload} | {engine} | – {reason} | | | | | |" for engine, reason in missing]
    return lines, agreed


def main():
    folder, *options = sys.argv[1:]
    folder, workloads = Path(folder), options[options.index("--") + 1 :]
    lines, agreed = [HEAD], True
    for workload in workloads:
        results = folder / f"{workload}.tsv"
        if results.exists():
            of_workload, same = rows(workload, results)
            lines, agreed = lines + of_workload, agreed and same
    table = "\n".join(lines)
    print(table)
    if not agreed:
        sys.exit("engines disagree: nothing is written")
    if "--write" in options:
        profiles = folder / "profiles.md"
        own = profiles.read_text() if profiles.exists() else ""
        block = "\n".join([BEGIN, "", own, table, "", END]) if own else "\n".join([BEGIN, "", table, "", END])
        page = PAGE.read_text()
        if BEGIN not in page:
            page = f"{page.rstrip()}\n\n{SECTION}\n\n{BEGIN}\n{END}\n"
        PAGE.write_text(re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block, page, flags=re.S))


if __name__ == "__main__":
    main()
