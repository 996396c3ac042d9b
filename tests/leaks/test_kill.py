"""Invariant 8: when an application that does not end is killed, and what is said about it."""

import time

from tests.leaks.observed import observed


def test_the_kill_comes_at_its_time():
    """Not before it, and not on a grid of a second, as when somebody looks once a second."""
    with observed("--application-close-timeout", "2") as server:
        clients = [server.join("/never_ends")[0] for _ in range(8)]
        for client in clients:
            client.reset()
            time.sleep(0.25)
        killed = [moment for (moment,) in server.wait_noted("cancelled", 8)]
        left = [moment for _, _, moment in server.journal("disconnect")]
        delays = sorted(later - earlier for earlier, later in zip(sorted(left), sorted(killed), strict=True))
        # The application sees the disconnect a moment after the timeout has begun to run.
        assert delays[0] > 2 - 0.2
        # Looked at once a second, they would be late by half a second on average.
        assert sum(delays) / 8 < 2 + 0.3, delays
        server.wait_nothing_left()
        assert server.ask("stats")["applications_killed_total"] == 8


def test_one_that_ends_in_time_is_not_killed():
    with observed("--application-close-timeout", "8") as server:
        client, _ = server.join("/thread")
        client.reset()
        server.wait_noted("thread ends")
        server.wait_nothing_left()
        assert server.server.killed == 0
        assert server.ask("stats")["applications_killed_total"] == 0


def test_the_report_says_where_the_task_is_stuck_and_what_it_held():
    with observed("--application-close-timeout", "1") as server:
        client, _ = server.join("/never_ends")
        server.publish(130)  # 100 fit
        client.reset()
        server.wait_noted("cancelled")
        server.wait_nothing_left()
        log = server.server.log
        (line,) = [line for line in log.splitlines() if "took too long to shut down and was killed." in line]
        assert "Application instance <Task pending" in line
        assert " for connection " in line
        report = log[log.index(line) :]
        assert "waiting_for_what_never_comes" in report, "the stack of the task"
        assert "2 groups (prices, trades)" in report
        assert "100 messages (" in report and "30 were dropped" in report


def test_the_report_says_where_the_worker_thread_is_stuck():
    with observed("--application-close-timeout", "1") as server:
        client, _ = server.join("/thread")
        client.reset()
        server.wait_until(lambda: server.server.killed == 1, "the kill")
        assert not server.journal("thread ends")
        log = server.server.log
        assert "sleeping_in_a_worker_thread" in log[log.index("took too long") :]
        server.wait_nothing_left()


def test_one_that_swallows_its_cancellation_is_reported_once():
    with observed("--application-close-timeout", "1") as server:
        client, _ = server.join("/swallows")
        client.reset()
        server.wait_noted("went on")
        time.sleep(3)
        assert server.server.log.count("took too long to shut down and was killed.") == 1
        assert server.ask("stats")["applications_killed_total"] == 1
