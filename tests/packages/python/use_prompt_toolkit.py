"""prompt_toolkit: a session with completion, history and key bindings, fed by a pipe; formatted text; buffers."""
import io

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, FuzzyWordCompleter, NestedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import HTML, fragment_list_to_text, to_formatted_text
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.output import DummyOutput
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.data_structures import Size
from prompt_toolkit.validation import Validator
from prompt_toolkit import print_formatted_text

bindings = KeyBindings()


@bindings.add("c-t")
def _(event):
    event.current_buffer.insert_text("[T]")


with create_pipe_input() as pipe:
    history = InMemoryHistory()
    session = PromptSession(input=pipe, output=DummyOutput(), key_bindings=bindings, history=history)
    pipe.send_text("hello world\x01X\x05!\n")
    print(session.prompt("> "))
    pipe.send_text("\x1b[A\x17there\x14\n")
    print(session.prompt("> "))
    pipe.send_text("abc\x1b[D\x1b[D\x7fZ\n")
    print(session.prompt("> ", validator=Validator.from_callable(lambda text: "Z" in text)))
    print(list(history.load_history_strings()))

completer = NestedCompleter.from_nested_dict({"show": {"version": None, "interfaces": {"all"}}, "exit": None})
for text in ("s", "show ", "show i", "show interfaces "):
    print(text, sorted(c.text for c in completer.get_completions(Document(text), CompleteEvent())))
print([c.text for c in FuzzyWordCompleter(["leopard", "gorilla", "dinosaur"]).get_completions(Document("oa"), CompleteEvent())])
fragments = to_formatted_text(HTML("<b>bold</b> <style fg='ansired'>red</style> &lt;"))
print(fragments, fragment_list_to_text(fragments))
stream = io.StringIO()
print_formatted_text(HTML("<u>under</u> <i>it</i>"), output=Vt100_Output(stream, lambda: Size(rows=2, columns=40), term="xterm"))
print(repr(stream.getvalue()))
buffer = Buffer(document=Document("one two\nthree", 4))
buffer.delete_before_cursor(2)
buffer.cursor_down()
print(repr(buffer.text), buffer.cursor_position, buffer.document.get_word_under_cursor(), buffer.document.cursor_position_row)
buffer.undo()
