"""The page of `fsmde reproduce`: variants compared."""
