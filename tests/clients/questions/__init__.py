"""Random questions over tables, by subject.

`trees` are questions that can be written for each engine and made smaller; `values`, `expressions` and `parts` are what
they are made of. The other files make questions of one subject each, `every` all of them, and `answers` says whether two
answers are the same. docs/reference/sql.md lists where lacus and DuckDB mean different things by the same words: no
question asks for those, or it asks each engine in words of its own.
"""
