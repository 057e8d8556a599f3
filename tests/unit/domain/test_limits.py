import pytest

from router.domain.limits import LIMIT_RESULTS, is_limit_error

# android.telephony.SmsManager, API level 34
RESULTS = {
    1: "RESULT_ERROR_GENERIC_FAILURE", 2: "RESULT_ERROR_RADIO_OFF", 3: "RESULT_ERROR_NULL_PDU", 4: "RESULT_ERROR_NO_SERVICE",
    5: "RESULT_ERROR_LIMIT_EXCEEDED", 6: "RESULT_ERROR_FDN_CHECK_FAILURE", 7: "RESULT_ERROR_SHORT_CODE_NOT_ALLOWED",
    8: "RESULT_ERROR_SHORT_CODE_NEVER_ALLOWED", 9: "RESULT_RADIO_NOT_AVAILABLE", 10: "RESULT_NETWORK_REJECT",
    11: "RESULT_INVALID_ARGUMENTS", 12: "RESULT_INVALID_STATE", 13: "RESULT_NO_MEMORY", 14: "RESULT_INVALID_SMS_FORMAT",
    15: "RESULT_SYSTEM_ERROR", 16: "RESULT_MODEM_ERROR", 17: "RESULT_NETWORK_ERROR", 18: "RESULT_ENCODING_ERROR",
    19: "RESULT_INVALID_SMSC_ADDRESS", 20: "RESULT_OPERATION_NOT_ALLOWED", 21: "RESULT_INTERNAL_ERROR", 22: "RESULT_NO_RESOURCES",
    23: "RESULT_CANCELLED", 24: "RESULT_REQUEST_NOT_SUPPORTED", 25: "RESULT_NO_BLUETOOTH_SERVICE",
    26: "RESULT_INVALID_BLUETOOTH_ADDRESS", 27: "RESULT_BLUETOOTH_DISCONNECTED", 28: "RESULT_UNEXPECTED_EVENT_STOP_SENDING",
    29: "RESULT_SMS_BLOCKED_DURING_EMERGENCY", 30: "RESULT_SMS_SEND_RETRY_FAILED", 31: "RESULT_REMOTE_EXCEPTION",
    32: "RESULT_NO_DEFAULT_SMS_APP", 100: "RESULT_RIL_RADIO_NOT_AVAILABLE", 101: "RESULT_RIL_SMS_SEND_FAIL_RETRY",
    102: "RESULT_RIL_NETWORK_REJECT", 103: "RESULT_RIL_INVALID_STATE", 104: "RESULT_RIL_INVALID_ARGUMENTS",
    105: "RESULT_RIL_NO_MEMORY", 106: "RESULT_RIL_REQUEST_RATE_LIMITED", 107: "RESULT_RIL_INVALID_SMS_FORMAT",
    108: "RESULT_RIL_SYSTEM_ERR", 109: "RESULT_RIL_ENCODING_ERR", 110: "RESULT_RIL_INVALID_SMSC_ADDRESS", 111: "RESULT_RIL_MODEM_ERR",
    112: "RESULT_RIL_NETWORK_ERR", 113: "RESULT_RIL_INTERNAL_ERR", 114: "RESULT_RIL_REQUEST_NOT_SUPPORTED",
    115: "RESULT_RIL_INVALID_MODEM_STATE", 116: "RESULT_RIL_NETWORK_NOT_READY", 117: "RESULT_RIL_OPERATION_NOT_ALLOWED",
    118: "RESULT_RIL_NO_RESOURCES", 119: "RESULT_RIL_CANCELLED", 120: "RESULT_RIL_SIM_ABSENT",
    121: "RESULT_RIL_SIMULTANEOUS_SMS_AND_CALL_NOT_ALLOWED", 122: "RESULT_RIL_ACCESS_BARRED", 123: "RESULT_RIL_BLOCKED_DUE_TO_CALL",
    124: "RESULT_RIL_GENERIC_ERROR",
}  # fmt: skip


@pytest.mark.parametrize(("number", "name"), RESULTS.items())
def test_androids_results(number: int, name: str) -> None:
    """Two of Android's results mean too fast, however a phone tells them; the words beside a name do not count."""
    is_limit = number in (5, 106)

    assert is_limit == (number in LIMIT_RESULTS)
    assert is_limit == is_limit_error(name)
    assert is_limit == is_limit_error(f"Send result: {name} (Failed because of a rate-limited SMS)")
    assert is_limit == is_limit_error(f"Unknown error code: {number}")
    assert is_limit == is_limit_error(f"error {number}")
    assert is_limit == is_limit_error(str(number))


@pytest.mark.parametrize(
    "text",
    [
        "Send result: RESULT_ERROR_LIMIT_EXCEEDED (Failed because we reached the sending queue limit)",
        "Send result: RESULT_RIL_REQUEST_RATE_LIMITED (The radio denied the operation due to overly-frequent requests)",
        "limit exceeded",
        "LIMIT_EXCEEDED",
        "the limit was reached",
        "over the daily limit",
        "rate limit",
        "limit exceeded, error 32",
    ],
)
def test_too_fast(text: str) -> None:
    """SMSGate's app, and what other phones say in words."""
    assert is_limit_error(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TTL expired",
        "Can't send message: null",
        "Send result: RESULT_UNEXPECTED_EVENT_STOP_SENDING (Failed because the user denied the dialog for a rate-limited SMS)",
        "Delivery result: 5",
        "Delivery result from SC +213661000005: 106",
        "error 500",
        "error 55",
        "the seed reported a failure",
        "5 messages lost",
        "limited company",
    ],
)
def test_other_failures(text: str) -> None:
    """A failure of the SIM, of the message or of its delivery."""
    assert not is_limit_error(text)
