"""structlog: events with context through processors to JSON, key=value and the standard library."""
import io
import logging

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars, merge_contextvars
from structlog.processors import ExceptionRenderer, JSONRenderer, KeyValueRenderer, LogfmtRenderer, add_log_level
from structlog.testing import capture_logs


def configure(*processors, logger=None):
    structlog.configure(processors=[merge_contextvars, *processors], logger_factory=logger or structlog.PrintLoggerFactory(), cache_logger_on_first_use=False,
                        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    return structlog.get_logger()


log = configure(add_log_level, JSONRenderer(sort_keys=True)).bind(tool="x")
log.debug("hidden")
log.info("started", n=3, obj={1, 2} - {2}, text="ü \n")
log.bind(other=1).warning("formatted %s of %d", "one", 2)
bind_contextvars(request="r1")
with bound_contextvars(step=2):
    log.error("inside")
log.unbind("tool").critical("outside")
clear_contextvars()
log = configure(add_log_level, LogfmtRenderer(key_order=["level", "event"]))
log.info("quoted value", a="x y", b=True, c=None, d='"q"')


def drop_secrets(logger, method, event):
    if event.get("drop"):
        raise structlog.DropEvent
    event["password"] = "***"
    return event


log = configure(drop_secrets, KeyValueRenderer(key_order=["event"]))
log.info("login", password="p")
log.info("never", drop=True)
stream = io.StringIO()
logging.basicConfig(stream=stream, format="%(levelname)s:%(name)s:%(message)s", level=logging.INFO)
configure(structlog.stdlib.add_logger_name, ExceptionRenderer(lambda info: repr(info[1])), KeyValueRenderer(sort_keys=True), logger=structlog.stdlib.LoggerFactory())
try:
    {}["key"]
except KeyError:
    structlog.get_logger("tool.part").exception("failed", code=7)
print(stream.getvalue().strip())
with capture_logs() as events:
    structlog.get_logger().bind(a=1).info("seen", b=2)
print(events)
