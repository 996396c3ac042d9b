"""`module:attribute`: one line for a wrong path, the application's own traceback for a wrong application."""

import sys

import pytest
from peneus.errors import ApplicationImportError
from peneus.imports import import_application

from tests.integration.programs import ROOT, get, peneus


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty directory to work in; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("wanted"):
            del sys.modules[name]


def wrong(path):
    with pytest.raises(ApplicationImportError) as error:
        import_application(path)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_the_working_directory_is_on_the_path(project):
    (project / "wanted.py").write_text("class holder:\n    async def application(scope, receive, send): ...\n")
    application = import_application("wanted:holder.application")
    assert application.__qualname__ == "holder.application"


@pytest.mark.parametrize("path", ["wanted", "wanted:", ":application", ""])
def test_a_path_without_two_parts(path):
    assert "write module:attribute, for example mysite.asgi:application" in wrong(path)


def test_no_such_module(project):
    assert wrong("wanted.asgi:application").startswith(
        "cannot import 'wanted.asgi:application': no module named 'wanted.asgi' (there is no 'wanted')"
    )
    (project / "wanted").mkdir()
    (project / "wanted" / "__init__.py").write_text("")
    assert "no module named 'wanted.asgi';" in wrong("wanted.asgi:application")


def test_no_such_attribute(project):
    (project / "wanted.py").write_text("async def application(scope, receive, send): ...\n")
    assert wrong("wanted:app") == "cannot import 'wanted:app': wanted has no attribute 'app'; did you mean 'application'?"
    assert wrong("wanted:application.x") == "cannot import 'wanted:application.x': wanted.application has no attribute 'x'"


def test_what_cannot_be_called(project):
    (project / "wanted.py").write_text("application = 5\n")
    assert wrong("wanted:application") == "'wanted:application' is a int, which cannot be called; name an application"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import not_there_at_all\n", ModuleNotFoundError),
        ("import wanted.part\n", ModuleNotFoundError),
        ("1 / 0\n", ZeroDivisionError),
        ("def (:\n", SyntaxError),
        ("from sys import no_such_thing\n", ImportError),
        ("def __getattr__(name):\n    return [].no_such_method\n", AttributeError),
    ],
)
def test_the_applications_own_error_is_raised_as_it_is(project, source, error):
    (project / "wanted.py").write_text(source)
    with pytest.raises(error):
        import_application("wanted:application")


def test_a_package_that_imports_its_own_missing_part(project):
    """The path names that part, but it is the package that fails: its traceback says where."""
    (project / "wanted").mkdir()
    (project / "wanted" / "__init__.py").write_text("import wanted.asgi\n")
    with pytest.raises(ModuleNotFoundError, match="wanted.asgi"):
        import_application("wanted.asgi:application")


@pytest.mark.asyncio
async def test_asgi_2(project):
    (project / "wanted.py").write_text(
        "class application:\n"
        "    def __init__(self, scope):\n        self.scope = scope\n"
        "    async def __call__(self, receive, send):\n        await send(self.scope)\n"
    )
    sent = []

    async def send(message):
        sent.append(message)

    await import_application("wanted:application")({"type": "http"}, None, send)
    assert sent == [{"type": "http"}]


def test_the_command_says_it_in_one_line(tmp_path):
    with peneus("no_such_module:application", cwd=tmp_path) as command:
        assert command.wait() == 1
        assert len(command.output.splitlines()) == 1
        assert command.output.startswith("peneus: cannot import 'no_such_module:application': no module named 'no_such_module'")


def test_the_command_shows_the_applications_traceback_and_nothing_of_ours(tmp_path):
    (tmp_path / "broken.py").write_text("def configure():\n    raise RuntimeError('no database')\n\nconfigure()\n")
    with peneus("broken:application", cwd=tmp_path) as command:
        assert command.wait() == 1
        lines = command.output.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].strip().startswith(f'File "{tmp_path}/broken.py", line 4')
    assert "RuntimeError: no database" in lines
    assert lines[-1] == "peneus: 'broken:application' failed while it was imported, see above"
    assert "importlib" not in "".join(lines)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("mysite.asgi", "mysite.asgi:application"),
        ("mysite/asgi.py", "mysite.asgi:application"),
        ("./mysite/asgi.py:app", "mysite.asgi:app"),
        ("mysite/asgi:app", "mysite.asgi:app"),
        ("chanels", "peneus channels"),
    ],
)
def test_what_was_meant_by_a_path(path, meant):
    message = wrong(path)
    assert "write module:attribute, for example mysite.asgi:application" in message
    assert message.endswith(f"did you mean {meant}?")


def test_what_was_meant_by_a_module(project):
    (project / "wanted").mkdir()
    (project / "wanted" / "__init__.py").write_text("")
    (project / "wanted" / "asgi.py").write_text("")
    assert wrong("wantde.asgi:application").endswith("; did you mean wanted?")
    assert wrong("wanted.asgy:application").endswith("; did you mean wanted.asgi?")
    assert "did you mean" not in wrong("something.else:application")


FACTORIES = """
class Application:
    def __init__(self, name="mine"):
        self.name = name
    async def __call__(self, scope, receive, send): ...

class Plain:
    async def __call__(self, scope, receive, send): ...

def create_app(): return Application()
def with_defaults(*, debug=False): return Application()
class Holder:
    @classmethod
    def make(cls): return Application()
    def __call__(self): return Application()
holder = Holder()
def wrong(): return 5
async def coroutine(): return Application()
def raises(): raise RuntimeError("no database")
def two(scope, receive): ...
async def application(scope, receive, send): ...
async def anything(*arguments): ...
async def optional(scope=None, receive=None, send=None): ...
"""


@pytest.mark.parametrize("name", ["create_app", "with_defaults", "Holder.make", "holder", "Plain"])
def test_a_function_that_makes_the_application_is_called(project, name, caplog):
    (project / "wanted.py").write_text(FACTORIES)
    caplog.set_level("INFO")
    made = import_application(f"wanted:{name}")
    assert type(made).__name__ in ("Application", "Plain")
    assert [record.getMessage() for record in caplog.records] == [f"wanted:{name} makes the application"]


@pytest.mark.parametrize("name", ["application", "anything", "optional"])
def test_an_application_is_not_called(project, name, caplog):
    (project / "wanted.py").write_text(FACTORIES)
    assert import_application(f"wanted:{name}").__name__ == name
    assert not caplog.records


def test_what_is_neither(project):
    (project / "wanted.py").write_text(FACTORIES)
    assert wrong("wanted:wrong") == "'wanted:wrong()' is a int, which cannot be called; name an application"
    assert wrong("wanted:coroutine") == "'wanted:coroutine' is an async function without arguments; write one that is not async"
    assert wrong("wanted:two") == (
        "'wanted:two' is no ASGI application, which takes (scope, receive, send): it takes (scope, receive)"
    )
    with pytest.raises(RuntimeError, match="no database"):
        import_application("wanted:raises")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_factory_is_served(tmp_path, workers):
    (tmp_path / "wanted.py").write_text("from tests.integration.programs import hello\ndef create():\n    return hello\n")
    with peneus("-p", "0", "--workers", workers, "wanted:create", cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}") as server:
        assert get(("127.0.0.1", server.port()), "/path").endswith(b"/path")
