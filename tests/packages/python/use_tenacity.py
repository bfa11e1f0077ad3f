"""tenacity: retries by exception and result, with waits that are recorded instead of slept."""
from tenacity import (RetryError, Retrying, retry, retry_if_exception_type, retry_if_not_result, stop_after_attempt, stop_after_delay, wait_chain, wait_exponential,
                      wait_fixed, wait_incrementing, retry_if_exception_message, TryAgain, before_log)

waits = []
calls = {"n": 0}


def record(seconds):
    waits.append(seconds)


@retry(stop=stop_after_attempt(5), wait=wait_exponential(multiplier=1, min=1, max=6), retry=retry_if_exception_type(OSError), sleep=record,
       before_sleep=lambda state: print("again after", type(state.outcome.exception()).__name__, state.attempt_number))
def flaky(failures):
    calls["n"] += 1
    if calls["n"] <= failures:
        raise ConnectionError(calls["n"])
    return "answer"


print(flaky(3), waits, flaky.statistics["attempt_number"])
calls["n"] = 0
try:
    flaky(10)
except RetryError as error:
    print("gave up", error.last_attempt.attempt_number, repr(error.last_attempt.exception()))
calls["n"] = -1
waits.clear()
numbers = iter(range(10))
print(retry(retry=retry_if_not_result(lambda n: n > 3), wait=wait_chain(*[wait_fixed(n) for n in (1, 2)], wait_fixed(9)), sleep=record)(lambda: next(numbers))(), waits)
waits.clear()
for attempt in Retrying(stop=stop_after_attempt(3), wait=wait_incrementing(1, 2), sleep=record, reraise=True):
    with attempt:
        if attempt.retry_state.attempt_number < 3:
            raise TryAgain
        print("in a loop", attempt.retry_state.attempt_number, waits)


@retry(stop=stop_after_attempt(2), retry=retry_if_exception_message(match="transient.*"), sleep=record, retry_error_callback=lambda state: "fallback")
def fallback(text):
    raise RuntimeError(text)


print(fallback("transient problem"))
try:
    fallback("other")
except RuntimeError as error:
    print("not retried:", error)
try:
    flaky.retry_with(stop=stop_after_attempt(1), reraise=True)(99)
except ConnectionError as error:
    print("reraised", error.args[0] > 0)
