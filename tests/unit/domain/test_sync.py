"""Synchronisation: what a socket says when, and how sessions are written down."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.sync import (
    Action,
    Plan,
    State,
    SyncRules,
    begun,
    decide,
    frame,
    is_session,
    is_user,
    is_version,
    new_session,
    session_path,
    sync_url,
)

RULES = SyncRules()
NOW = 1000.0


def story(*, pause_at: float = float("inf"), ack_at: float = float("inf"), rules: SyncRules = RULES) -> list[tuple[float, Action]]:
    """What a socket does, second by second, where clients do something at these times; without its waits."""
    plan, done = Plan(), []
    for second in range(1000):
        for _ in range(10):
            state: State = "acked" if second >= ack_at else "paused" if second >= pause_at else "waiting"
            action, plan = decide(plan, state, float(second), rules)
            if action == "wait":
                break
            done.append((float(second), action))
            if action == "frame":
                plan = begun(plan, float(second), rules)
            if action in {"close", "ack"}:
                return done
    raise AssertionError(f"it never ends: {done}")


def test_frames_at_each_sleep_and_a_close_after_the_last() -> None:
    assert [(0, "frame"), (15, "frame"), (30, "frame"), (45, "close")] == story()


@pytest.mark.parametrize(("limit", "closes_at"), [(1, 15), (5, 75)])
def test_another_limit(limit: int, closes_at: int) -> None:
    done = story(rules=SyncRules(session_change_limit=limit))

    assert limit == len([action for _, action in done if action == "frame"])
    assert (closes_at, "close") == done[-1]


@pytest.mark.parametrize(("pause_at", "sleep_ends"), [(3, 15), (14, 15), (20, 30), (44, 45)])
def test_a_pause_without_an_ack(pause_at: int, sleep_ends: int) -> None:
    """Nothing rotates any more; the close comes after the sleep that was running and the pause."""
    done = story(pause_at=pause_at)

    assert [(pause_at, "pause"), (sleep_ends + 120, "close")] == done[-2:]
    assert all(at <= pause_at for at, action in done if action == "frame")


def test_an_ack_ends_it() -> None:
    assert [(0, "frame"), (7, "pause"), (60, "ack")] == story(pause_at=7, ack_at=60)


def test_both_heard_of_at_once() -> None:
    """A hint was lost: the pause is still said before the ack."""
    assert [(0, "frame"), (7, "pause"), (7, "ack")] == story(ack_at=7)


def test_a_session_that_was_lost() -> None:
    """While it waits, the next frame takes its place; one that was paused cannot go on."""
    waiting = Plan(frames=1, due=NOW + 5)

    assert ("wait", waiting) == decide(waiting, "gone", NOW, RULES)
    assert ("frame", waiting) == decide(waiting, "gone", NOW + 5, RULES)
    assert "close" == decide(Plan(frames=1, due=NOW + 5, is_paused=True), "gone", NOW, RULES)[0]


@given(
    st.builds(Plan, st.integers(0, 5), st.floats(0, 1e6), st.booleans()), st.sampled_from(get_args(State)), st.floats(0, 1e6)
)
def test_what_is_said_follows_from_the_state(plan: Plan, state: State, now: float) -> None:
    """No frame once somebody has taken the session on, no pause twice, no ack before the pause, and nothing where another socket is."""
    action, after = decide(plan, state, now, RULES)

    assert action in get_args(Action)
    if action == "frame":
        assert state in ("waiting", "gone")
        assert not plan.is_paused
        assert plan.frames < RULES.session_change_limit
    if action == "pause":
        assert after.is_paused
        assert not plan.is_paused
    if action == "ack":
        assert (True, "acked") == (plan.is_paused, state)
    if state == "taken":
        assert "close" == action
    if action == "wait":
        assert now < plan.due


def test_urls() -> None:
    """To the letter of the guide; JSON as the last web front end wants it."""
    base = "https://sms.example"

    assert "wss://sms.example/v2/sync/init/u/s" == sync_url(base, "v2", "u", "s")
    assert "ws://localhost:1/v2/sync/init/u/s" == sync_url("http://localhost:1", "v2", "u", "s")
    assert "/v2/sync/users/u/sessions/s" == session_path("v2", "u", "s")
    url = "https://sms.example/v2/sync/users/u/sessions/s/handshake"
    assert url == frame(base, "v2", "u", "s", "url")
    assert {"qr_url": url, "mobile_url": url.replace("https", "apps")} == json.loads(frame(base, "v2", "u", "s", "json"))
    assert frame("http://h", "v2", "u", "s", "json").endswith('"mobile_url":"app://h/v2/sync/users/u/sessions/s/handshake"}')


def test_names() -> None:
    """What stands in a URL is short, and could be a login, an account's id, or the guide's `111` and `000`."""
    assert all(map(is_user, ("111", "ac_01JABC", "some.body@example-x", "u" * 64)))
    assert not any(map(is_user, ("", "u" * 65, "a b", "a/b", "a{b}", "é", "a\n")))
    assert all(map(is_session, ("000", new_session(), "s" * 64)))
    assert not any(map(is_session, ("", "s" * 65, "a.b", "a:b", "a{b}", "a\n")))
    assert all(map(is_version, ("v2", "v10")))
    assert not any(map(is_version, ("v", "2", "v2x", "w2", "v12345", "v2\n")))


def test_sessions_are_new() -> None:
    made = {new_session() for _ in range(1000)}

    assert 1000 == len(made)
    assert all(32 == len(session) and int(session, 16) >= 0 for session in made)
