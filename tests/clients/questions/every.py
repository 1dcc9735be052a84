"""All questions."""

from questions.firsts import Firsts
from questions.joins import Joins
from questions.others import Others
from questions.subqueries import Subqueries
from questions.totals import Totals
from questions.windows import Windows


class Questions(Firsts, Joins, Others, Subqueries, Totals, Windows):
    """Makes random questions over tables."""

    def one(self):
        """A question."""
        # How often each is asked, beside the others.
        kinds = [
            (self.plain, 17),
            (self.grouped, 9), (self.several_groupings, 6), (self.beside_distinct, 6), (self.counted, 5), (self.group_counts, 4), (self.in_order, 5),
            (self.windows, 5), (self.moving, 7), (self.of_totals, 2), (self.named_window, 2),
            (self.shared, 6), (self.natural, 2), (self.of_one_name, 4), (self.semi, 3), (self.beside_values, 2),
            (self.beside_subqueries, 6), (self.lateral, 6),
            (self.first_rows, 5), (self.first_groups, 5), (self.with_ties, 3), (self.called_alike, 2), (self.qualified, 2), (self.first_of_each, 3),
            (self.sets, 6), (self.unnested, 4), (self.numbers, 2), (self.with_named, 3), (self.with_two_named, 2), (self.recursive, 3), (self.total_of, 2),
        ]  # fmt: skip
        make = self.chance.choices([make for make, _ in kinds], [share for _, share in kinds])[0]
        return make()
