"""All questions."""

from questions.joins import Joins
from questions.others import Others
from questions.subqueries import Subqueries
from questions.totals import Totals
from questions.windows import Windows


class Questions(Joins, Others, Subqueries, Totals, Windows):
    """Makes random questions over tables."""

    def one(self):
        """A question."""
        # How many of a hundred are of a kind.
        kinds = [
            (self.plain, 17),
            (self.grouped, 9), (self.several_groupings, 6), (self.beside_distinct, 6), (self.counted, 6),
            (self.windows, 5), (self.moving, 7), (self.of_totals, 2),
            (self.shared, 6), (self.natural, 2), (self.of_one_name, 4), (self.semi, 3),
            (self.beside_subqueries, 5), (self.lateral, 6),
            (self.sets, 6), (self.first_of_each, 3), (self.unnested, 3), (self.with_named, 3), (self.total_of, 1),
        ]  # fmt: skip
        make = self.chance.choices([make for make, _ in kinds], [share for _, share in kinds])[0]
        return make()
