"""The article's cases: programs that leak under other servers, run under Peneus and beside it."""
