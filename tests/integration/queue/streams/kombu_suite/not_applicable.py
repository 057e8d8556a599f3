"""kombu's tests that do not apply to a transport of its own broker, each with the reason."""

_RESTORE = "unacknowledged messages are not published again by the client: they are given back, or their lease ends"
_CYCLE = "there is no cycle of polls: all queues are read at once"

NOT_APPLICABLE: dict[str, str] = {
    "test_base.py::test_Channel::test_basic_publish__anon_exchange": "a body is stored as it is, without encode_body",
    "test_base.py::test_Channel::test_basic_publish__get__consume__restore": "messages go to the callback, not through `_deliver`",
    "test_base.py::test_Channel::test_restore_unacked_raises_BaseException": _RESTORE,
    "test_base.py::test_Channel::test_restore_unacked_ignores_raised_exceptions_when_acked": _RESTORE,
    "test_base.py::test_Channel::test_restore_unacked_once_when_unrestored": _RESTORE,
    "test_base.py::test_Channel::test_lookup__undeliverable": "an exchange that is not there is an error (404), not a default queue",
    "test_base.py::test_Channel::test_basic_cancel": _CYCLE,
    "test_base.py::test_Channel::test_basic_cancel_not_in_active_queues": _CYCLE,
    "test_base.py::test_Channel::test_drain_events_has_get_many": "its channel has a mock for QoS",
    "test_base.py::test_Channel::test_queue_delete_unknown_queue": "deleting tells how many messages went, as in AMQP: 0, not None",
    "test_memory.py::test_MemoryTransport::test_drain_events_unregistered_queue": _CYCLE,
    "test_memory.py::test_MemoryTransport::test_queue_for": "how the memory transport keeps its queues",
}
