"""The article's cases where the groups reach other processes: nothing stays here, and nothing stays at Redis."""

import pytest

from tests.leaks.cases import CASES, case_named
from tests.leaks.harness import PENEUS_BUSES, Stack
from tests.leaks.run import run
from tests.leaks.test_cases import assert_nothing_stays


@pytest.mark.parametrize("stack", PENEUS_BUSES, ids=lambda stack: stack.bus)
@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_nothing_stays(stack: Stack, name: str) -> None:
    result = run(case_named(name), stack)
    print(result)
    assert_nothing_stays(result)
    if stack.needs_redis:
        assert result.after["redis_subscriptions"] == result.left["redis_subscriptions"] <= 1  # its own
        assert result.after["redis_members"] == 0
