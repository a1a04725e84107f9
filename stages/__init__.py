"""The three stages. They know `cache_schema` and never each other, except that stage 3 loads the student."""
