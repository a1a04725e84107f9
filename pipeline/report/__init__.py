"""`report.html`: a comparison on one page, without anything from outside: tables, charts, curves, pictures."""
