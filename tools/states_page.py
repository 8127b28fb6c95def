"""Write docs/states.md from the tables that the orchestrator obeys. With --check, only compare."""

from __future__ import annotations

from typing import Any

from pages import write_or_check

from orchestrator.jobs.states import ATTEMPT, ITEM, JOB, TASK, Machine

HEAD = """# States

What a job, its items, its tasks and the attempts at them can be, and what may follow what. Made
by `python tools/states_page.py` from `orchestrator/jobs/states.py`, the tables that the
orchestrator obeys. What a table does not allow changes nothing: an event that comes late, twice,
out of order, or from an attempt that is over, does no harm.

A job has items: what the caller gets. It is cut into tasks: what one worker does in one go.
Every try at a task is an attempt; it stands in the job's record before any work is dispatched.

## What always holds

`tests/unit/orchestrator/jobs/test_story.py` shows it with random events in random order.

- Final states are final. RetryJob makes a new job, which carries finished items over
  (`retry_of`); the first one and its stream stay as they ended.
- Percent never falls, neither an item's nor the job's, not even when an attempt is repeated.
- Events count 1, 2, 3 ... without a gap; the last one, and no other, is `finished`.
- An item that SUCCEEDED has one output, which is never replaced.
- Attempts at a task are limited. One that was handed over does not count.
"""


def section(machine: Machine[Any, Any]) -> str:
    name = machine.name
    causes: dict[tuple[Any, Any], list[str]] = {}
    for before, after, cause in machine.edges():
        causes.setdefault((before, after), []).append(cause.name)
    arrows = [
        f"    {name(before)} --> {name(after)}: {', '.join(sorted(found))}"
        for (before, after), found in causes.items()
    ]
    ends = [f"    {name(s)} --> [*]" for s in machine.states() if machine.is_final(s)]
    rows = [
        f"| {', '.join(name(state) for state in rule.before)} | {rule.cause.name}:"
        f" {rule.cause.value} | {name(rule.after)} |"
        for rule in machine.rules
    ]
    return "\n".join(
        [
            f"\n## {machine.title}\n",
            "```mermaid",
            "stateDiagram-v2",
            f"    [*] --> {name(machine.initial)}",
            *arrows,
            *ends,
            "```\n",
            "| in | when | goes to |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def page() -> str:
    return HEAD + "".join(section(machine) for machine in (JOB, ITEM, TASK, ATTEMPT))


if __name__ == "__main__":
    raise SystemExit(write_or_check("states.md", page))
