#!/usr/bin/env python3
"""Asks lacus and DuckDB the same random questions about the same random tables, until they disagree or time is over.

Usage: differential.py --project DIR --seed N --seconds S [--keep-going]

A lacus server with the settings of differential.toml must be serving the project. Tables change between questions: events
come (the hot tail), are flushed and merged, bring columns; columns are added, widened, renamed and dropped; SQL inserts,
updates, deletes and merges, also from other tables, and returns rows; there are views over views, and external tables whose
files come by themselves. DuckDB has tables of its own that go through the same. Each question is asked of lacus twice, the second
time so that no file can be skipped and nothing is answered from manifests.

What it asks is in `questions`, what the tables go through in `differential_changes`, `differential_writes` and `differential_outside`.

A disagreement is made smaller as long as it stays one, and printed with all three answers.
"""

import argparse
import itertools
import random
import re
import sys
import time

from differential_changes import Changes
from differential_tables import Disagreement, Wrong
from questions.answers import differing, same_rows
from questions.every import Questions
from questions.trees import DUCK, LACUS, NAIVE

ROWS_SHOWN = 5
# How many questions that fail in the same way are shown, where it keeps going.
REPORTS_MAX = 3
REDUCE_SECONDS_MAX = 40
# Both engines may refuse a question, such as one whose numbers overflow. If it were many, little would be tested.
REFUSED_SHARE_MAX = 0.1

# Disagreements that are none: docs/reference/sql.md says what each is about.
DOCUMENTED = [r"nested identifiers are not yet supported for OuterReferenceColumn"]


def words_of(error):
    """An error without the names and numbers in it."""
    return re.sub(r"[\"'].*?[\"']|\d+", "…", str(error).splitlines()[0])[:60]


def verdict(both, query):
    """Nothing, or how the answers differ in a few words, and the answers."""
    ours, naive, theirs = (both.ask(query, dialect) for dialect in (LACUS, NAIVE, DUCK))
    answers = {LACUS: ours, NAIVE: naive, DUCK: theirs}
    failed = [isinstance(answer, Exception) for answer in (ours, naive, theirs)]
    if all(failed):
        return "refused", answers
    if failed[0] != failed[2] and any(re.search(known, str(ours if failed[0] else theirs)) for known in DOCUMENTED):
        return None, answers
    for name, failure, other in (("lacus", ours, theirs), ("naive", naive, theirs), ("DuckDB", theirs, ours)):
        if isinstance(failure, Exception):
            return f"{name} refuses: {words_of(failure)}", answers
    if not same_rows(ours, theirs, query.ordered):
        return "other rows than DuckDB", answers
    if not same_rows(ours, naive, query.ordered):
        return "other rows than the naive scan", answers
    return None, answers


def reduce(both, query, told):
    """The smallest question that fails in the same way."""
    deadline = time.monotonic() + REDUCE_SECONDS_MAX
    is_done = False
    while not is_done:
        is_done = True
        for less in query.smaller():
            if time.monotonic() > deadline:
                return query
            if verdict(both, less)[0] == told:
                query, is_done = less, False
                break
    return query


def shown(answers, is_ordered):
    """Each answer, and where those that have rows differ."""
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            yield f"\n{name}:\n  error: {str(answer)[:400]}"
        else:
            rows = "".join(f"\n  {row}" for row in answer[:ROWS_SHOWN])
            yield f"\n{name}: {len(answer)} rows{', the first of them' if len(answer) > ROWS_SHOWN else ''}{rows}"
    theirs = answers[DUCK]
    for name, answer in answers.items():
        if not isinstance(answer, Exception) and not isinstance(theirs, Exception):
            pairs = itertools.islice(differing(answer, theirs, is_ordered), ROWS_SHOWN)
            yield from (f"\n{name} has {ours}\nDuckDB has {other}" for ours, other in pairs)


def report(both, query, told, seed):
    small = reduce(both, query, told)
    _, answers = verdict(both, small)
    lines = [f"\nseed {seed}: {told}", f"\nasked of lacus:\n  {small.write(LACUS)}", f"\nasked of DuckDB:\n  {small.write(DUCK)}"]
    lines += shown(answers, small.ordered)
    if small != query:
        lines.append(f"\nas it was asked first:\n  {query.write(LACUS)}")
    return "\n".join(lines) + latest(both, seed)


def latest(both, seed):
    """What was done before, and how to do it again."""
    changes = "\n".join(f"  {change[:200]}" for change in both.changes[:-6:-1])
    again = f"LACUS_SEED={seed} cargo nextest run --workspace -E 'test(random_questions)'"
    return f"\n\nwhat was done before, the last first:\n{changes}\n\nagain: {again}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--project", required=True)
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--keep-going", action="store_true")
    arguments = arguments.parse_args()
    chance = random.Random(arguments.seed)
    both = Changes(arguments.project, chance)
    deadline = time.monotonic() + arguments.seconds
    asked = refused = steps = 0
    found = {}

    def wrong(query, told):
        found[told] = found.get(told, 0) + 1
        if found[told] > REPORTS_MAX:
            return
        print(report(both, query, told, arguments.seed), flush=True)
        if not arguments.keep_going:
            sys.exit("they disagree: see above")

    try:
        both.begin()
        while time.monotonic() < deadline:
            try:
                both.step()
            except Wrong as error:
                told, _ = verdict(both, error.query)
                wrong(error.query, told or "only once")
            steps += 1
            for _ in range(8):
                query = Questions(chance, both.tables, both.only_read).one()
                told, _ = verdict(both, query)
                asked += 1
                if told == "refused":
                    refused += 1
                elif told:
                    wrong(query, told)
    except Disagreement as error:
        sys.exit(f"seed {arguments.seed}: {error}\n" + latest(both, arguments.seed))
    print(f"seed {arguments.seed}: {asked} questions, {refused} refused by all, {steps} changes of {len(both.tables)} tables")
    if found:
        sys.exit("\n".join(f"{count} times: {told}" for told, count in found.items()))
    assert refused <= max(3, asked * REFUSED_SHARE_MAX), f"{refused} of {asked} questions were refused by all"


if __name__ == "__main__":
    main()
