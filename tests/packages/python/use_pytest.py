"""pytest: a small test suite with fixtures, parameters, failures and rewritten assertions is collected and run."""
import os
import sys
import tempfile

sys.dont_write_bytecode = True
import pytest

TESTS = '''
import pytest

@pytest.fixture(scope="module")
def numbers():
    yield [1, 2, 3]

@pytest.mark.parametrize("n,square", [(2, 4), (3, 9), pytest.param(4, 15, marks=pytest.mark.xfail)])
def test_square(n, square):
    assert n * n == square

def test_sum(numbers, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TOOL", "x")
    (tmp_path / "f").write_text(str(sum(numbers)))
    print("out")
    assert (tmp_path / "f").read_text() == "6" and capsys.readouterr().out == "out\\n"

def test_raises():
    with pytest.raises(ZeroDivisionError, match="by zero"):
        1 / 0

def test_fails(numbers):
    left = {"a": numbers, "b": "x"}
    assert left == {"a": [1, 2, 4], "b": "x"}, "told so"

@pytest.mark.skip(reason="not now")
def test_skipped():
    raise SystemExit

class TestClass:
    def test_approx(self):
        assert 0.1 + 0.2 == pytest.approx(0.3)
    def test_error(self, missing):
        pass
'''


class Collect:
    reports = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.reports.append((report.nodeid.split("::", 1)[1], report.when, report.outcome, hasattr(report, "wasxfail")))
        if report.failed and report.when == "call":
            print([line for line in report.longreprtext.splitlines() if line.startswith("E ")])


with tempfile.TemporaryDirectory() as directory:
    os.chdir(directory)
    with open("test_tool.py", "w") as file:
        file.write(TESTS)
    collect = Collect()
    status = pytest.main(["-p", "no:cacheprovider", "-p", "no:terminal", "--basetemp", os.path.join(directory, "t"), "test_tool.py"], plugins=[collect])
    print(int(status), *collect.reports, sep="\n")
    os.chdir("/")
